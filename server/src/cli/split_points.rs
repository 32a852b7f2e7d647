//! Keys at which the ranges of a new cluster are divided: from a file, or those of `bench`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use quintet_client::v1::InitClusterRequest;

use super::{bench::measure::keys::PREFIX, exit::Failure, output::unescape};

/// Flags that say into how many ranges a cluster is divided from the start.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Ranges of data to begin with; by default 8, or as many as --split-points make
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    initial_ranges: Option<u32>,
    /// File of keys at which a range ends and the next begins: one per line, in order, in keyspace
    /// `default`; \xNN, \t, \n, \r and \\ stand for bytes as in the output of `kv scan`
    #[arg(long, value_name = "FILE")]
    split_points: Option<PathBuf>,
}

impl Args {
    /// What to ask for. Without points the server divides the key space evenly by the first bytes of
    /// keys.
    pub(crate) fn request(&self, nodes: u32) -> Result<InitClusterRequest, Failure> {
        let split_points = match &self.split_points {
            Some(file) => read(file)?,
            None => Vec::new(),
        };
        let initial_ranges = self.initial_ranges.unwrap_or(0);
        Ok(InitClusterRequest { nodes, initial_ranges, split_points })
    }

    /// As [`Args::request`], but without a file the keys of `quintet bench` are divided.
    pub(crate) fn request_for_bench(&self, nodes: u32) -> Result<InitClusterRequest, Failure> {
        let mut request = self.request(nodes)?;
        if self.split_points.is_none() {
            let ranges =
                self.initial_ranges.unwrap_or(quintet_server::placement::initial::RANGES_DEFAULT);
            request.initial_ranges = ranges;
            request.split_points = of_bench(ranges);
        }
        Ok(request)
    }
}

/// Keys that divide those of every load of `bench` into equal parts.
fn of_bench(parts: u32) -> Vec<Bytes> {
    let point = |part: u32| (u64::from(part) << 32) / u64::from(parts.max(1));
    (1..parts).map(|part| format!("{PREFIX}{:08x}", point(part)).into()).collect()
}

fn read(file: &Path) -> Result<Vec<Bytes>, Failure> {
    let unusable = |why: String| Failure::usage(format!("{}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| unusable(error.to_string()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    let points = lines.map(|(index, line)| {
        let point = unescape(line.as_bytes())
            .ok_or_else(|| unusable(format!("line {}: not an escape after '\\'", index + 1)))?;
        Ok(Bytes::from(point))
    });
    points.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::measure::keys::key;

    #[test]
    fn the_keys_of_bench_are_spread_over_equal_parts() {
        let points = of_bench(8);
        let mut counts = [0_u32; 8];
        for index in 0..10_000 {
            let key = key(index);
            counts[points.iter().filter(|point| **point <= key).count()] += 1;
        }
        assert!(counts.iter().all(|count| (1_200..1_300).contains(count)), "{counts:?}");
    }

    #[test]
    fn points_come_from_a_file_or_from_bench() {
        let args = |initial_ranges, split_points| Args { initial_ranges, split_points };
        let request = args(Some(4), None).request_for_bench(5).expect("valid");
        let points = ["bench/40000000", "bench/80000000", "bench/c0000000"];
        assert_eq!(
            (request.initial_ranges, request.split_points),
            (4, points.map(Bytes::from).to_vec())
        );
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "a\nb\\x00c\n\nd\\\\\n").expect("written");
        let request = args(None, Some(file.path().to_owned())).request_for_bench(5).expect("valid");
        assert_eq!(request.initial_ranges, 0);
        assert_eq!(request.split_points, [&b"a"[..], b"b\0c", b"d\\"]);
        std::fs::write(file.path(), "a\nb\\q").expect("written");
        let failure = args(None, Some(file.path().to_owned())).request(5).expect_err("no escape");
        assert!(failure.to_string().contains("line 2"), "{failure}");
    }
}
