//! The details of a failed gRPC call, as gRPC's clients expect them: the trailer `grpc-status-details-bin`
//! holds a `google.rpc.Status` of the same code and text, and in it, each as an `Any`:
//!
//! | message | what for |
//! |---|---|
//! | `google.rpc.ErrorInfo` | `reason`: the code's name without `CODE_`; `domain`: [`DOMAIN`]; `metadata`: `retry`, `maybe_committed`, `hint_address` if there is one |
//! | `google.rpc.RetryInfo` | `retry_delay`, where the error says how long to wait |
//! | `quintet.v1.Error` | all of it |
//!
//! Trailers are small: clients refuse those above 8 KiB. So the value of a key that stands against a
//! condition is left out of them above [`VALUE_BYTES_MAX`], and `KeyState.value_left_out` says so.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use prost_types::Any;
use tonic_types::pb::{ErrorInfo, RetryInfo, Status};

use crate::v1;

/// Who gives `ErrorInfo.reason` its meaning.
pub const DOMAIN: &str = "quintet.v1";
/// The longest value in the details of a call: with everything else, and in base64, below 8 KiB.
pub const VALUE_BYTES_MAX: usize = 4 << 10;
/// In front of a message's full name in the address of an `Any`.
const TYPES: &str = "type.googleapis.com";

/// The details of a call that failed with a gRPC code because of an error.
#[must_use]
pub fn of(grpc_code: i32, error: &v1::Error) -> Bytes {
    let code = error.code().as_str_name();
    let mut metadata = HashMap::from([
        ("retry".to_owned(), short(error.retry().as_str_name(), "RETRY_CLASS_").to_owned()),
        ("maybe_committed".to_owned(), error.maybe_committed.to_string()),
    ]);
    if !error.hint_address.is_empty() {
        metadata.insert("hint_address".to_owned(), error.hint_address.clone());
    }
    let info =
        ErrorInfo { reason: short(code, "CODE_").to_owned(), domain: DOMAIN.to_owned(), metadata };
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    if error.retry_after_ms > 0 {
        let (seconds, ms) = (error.retry_after_ms / 1_000, error.retry_after_ms % 1_000);
        let nanos = i32::try_from(ms * 1_000_000).unwrap_or_default();
        let retry_delay = Some(prost_types::Duration { seconds: seconds.into(), nanos });
        details.push(any("google.rpc.RetryInfo", &RetryInfo { retry_delay }));
    }
    let mut error = error.clone();
    leave_out_long_value(&mut error);
    details.push(any("quintet.v1.Error", &error));
    let status = Status { code: grpc_code, message: error.message, details };
    Bytes::from(status.encode_to_vec())
}

/// The error in the details of a call; `None` where they hold none.
#[must_use]
pub fn error_in(details: &[u8]) -> Option<v1::Error> {
    let status = Status::decode(details).ok()?;
    let is_error = |any: &&Any| any.type_url.rsplit('/').next() == Some("quintet.v1.Error");
    let any = status.details.iter().find(is_error)?;
    v1::Error::decode(&*any.value).ok()
}

/// Leaves the value of what stands out of an error where it is too long for trailers.
fn leave_out_long_value(error: &mut v1::Error) {
    if let Some(current) = &mut error.current
        && current.value.len() > VALUE_BYTES_MAX
    {
        current.value = Bytes::new();
        current.value_left_out = true;
    }
}

fn short<'a>(name: &'a str, prefix: &str) -> &'a str {
    name.strip_prefix(prefix).unwrap_or(name)
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("{TYPES}/{name}"), value: message.encode_to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflict(value: Vec<u8>) -> v1::Error {
        v1::Error {
            code: v1::Code::Conflict.into(),
            message: "read it again".to_owned(),
            retry: v1::RetryClass::Never.into(),
            current: Some(Box::new(v1::KeyState {
                version: 7,
                value: value.into(),
                ..v1::KeyState::default()
            })),
            ..v1::Error::default()
        }
    }

    #[test]
    fn a_client_of_google_rpc_finds_code_text_and_all_details() {
        let error = v1::Error {
            retry_after_ms: 1_050,
            hint_address: "h:1".to_owned(),
            ..conflict(b"x".to_vec())
        };
        let details = of(9, &error);
        let status = Status::decode(details.clone()).expect("a google.rpc.Status");
        assert_eq!((status.code, &*status.message), (9, "read it again"));
        let types: Vec<_> = status.details.iter().map(|any| &*any.type_url).collect();
        let expected = ["google.rpc.ErrorInfo", "google.rpc.RetryInfo", "quintet.v1.Error"];
        assert_eq!(types, expected.map(|name| format!("type.googleapis.com/{name}")));
        let info = ErrorInfo::decode(&*status.details[0].value).expect("info");
        assert_eq!((&*info.reason, &*info.domain), ("CONFLICT", "quintet.v1"));
        let told = |name: &str| info.metadata.get(name).map(String::as_str);
        assert_eq!(told("retry"), Some("NEVER"));
        assert_eq!(told("maybe_committed"), Some("false"));
        assert_eq!(told("hint_address"), Some("h:1"));
        let retry = RetryInfo::decode(&*status.details[1].value).expect("retry");
        let delay = retry.retry_delay.expect("a delay");
        assert_eq!((delay.seconds, delay.nanos), (1, 50_000_000));
        assert_eq!(error_in(&details), Some(error));
    }

    #[test]
    fn a_large_value_stays_out_of_the_trailers() {
        let kept = conflict(vec![1; VALUE_BYTES_MAX]);
        assert_eq!(error_in(&of(9, &kept)), Some(kept));
        let details = of(9, &conflict(vec![1; VALUE_BYTES_MAX + 1]));
        assert!(details.len() < 512, "{}", details.len());
        let current = error_in(&details).and_then(|error| error.current).expect("what stands");
        assert_eq!((current.version, current.value_left_out), (7, true));
        assert!(current.value.is_empty());
    }

    #[test]
    fn other_details_hold_no_error() {
        assert_eq!(error_in(b""), None);
        assert_eq!(error_in(b"garbage"), None);
        let foreign =
            Status { details: vec![any("a.b.C", &Status::default())], ..Default::default() };
        assert_eq!(error_in(&foreign.encode_to_vec()), None);
    }
}
