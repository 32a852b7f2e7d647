#!/usr/bin/env bash
# clap 4.6.9: `requires = "key"` is not asked for where `key` conflicts with an argument that is there.
#
# `--version-is` needs KEY by its `requires`. KEY and `--prefix` exclude each other. Then `--prefix p
# --version-is 3` is accepted: the conflict wins over the requirement, silently. A flag that narrows what is
# done is so dropped, and more is done than was asked. The flag has to conflict with `--prefix` as well.
#
# Needs cargo and the crate registry. Exit codes: 0 as described, 1 it has changed, 2 could not run.
set -euo pipefail
# Only what is said below ends it with 1: whatever else fails, it could not run.
trap 'exit 2' ERR
CLAP="${CLAP:-4.6.9}"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 2' INT TERM HUP
mkdir "$scratch/src"
cat > "$scratch/Cargo.toml" <<TOML
[package]
name = "finding"
version = "0.0.0"
edition = "2024"
[dependencies]
clap = { version = "=$CLAP", features = ["derive"] }
[workspace]
TOML
cat > "$scratch/src/main.rs" <<'RS'
use clap::Parser;

#[derive(Parser)]
struct Loose {
    #[arg(conflicts_with = "prefix")]
    key: Option<String>,
    #[arg(long)]
    prefix: Option<String>,
    #[arg(long, requires = "key")]
    version_is: Option<u64>,
}

#[derive(Parser)]
struct Strict {
    #[arg(conflicts_with = "prefix")]
    key: Option<String>,
    #[arg(long)]
    prefix: Option<String>,
    #[arg(long, requires = "key", conflicts_with = "prefix")]
    version_is: Option<u64>,
}

fn said<T: Parser>(line: &str) -> &'static str {
    let words = std::iter::once("x").chain(line.split_whitespace());
    if T::try_parse_from(words).is_ok() { "accepted" } else { "refused" }
}

fn main() {
    println!("--version-is 3: {}", said::<Loose>("--version-is 3"));
    println!("--prefix p --version-is 3: {}", said::<Loose>("--prefix p --version-is 3"));
    println!("the same, with a conflict of its own: {}", said::<Strict>("--prefix p --version-is 3"));
    let _ = |a: Loose, b: Strict| (a.key, a.prefix, a.version_is, b.key, b.prefix, b.version_is);
}
RS
(cd "$scratch" && CARGO_TARGET_DIR=target cargo build -q 2> build.log) || { cat "$scratch/build.log" >&2; exit 2; }
seen="$("$scratch/target/debug/finding")"
expected='--version-is 3: refused
--prefix p --version-is 3: accepted
the same, with a conflict of its own: refused'
printf 'clap %s\n%s\n' "$CLAP" "$seen"
[ "$seen" = "$expected" ] || { echo "it has changed: expected"; echo "$expected"; exit 1; }
