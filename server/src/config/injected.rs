//! Environment variables that orchestrators put into every process beside a service named `quintet`, or
//! `quintet-…`: they are not meant as settings.
//!
//! Kubernetes names the addresses of each service of a namespace (`QUINTET_SERVICE_HOST`,
//! `QUINTET_SERVICE_PORT_GRPC`, `QUINTET_INTERNAL_PORT_7402_TCP_ADDR`), as Docker did for links (also
//! `QUINTET_NAME`, `QUINTET_ENV_…`). They are ignored by their names: no setting may ever have such a one, and
//! a test keeps it so. Who wrote one by hand, in the hope that it is a setting, shows by the value.

use std::net::IpAddr;

const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// What a variable looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One of an orchestrator, by name and value.
    Injected,
    /// Its name is one of an orchestrator, its value is not.
    Doubtful,
}

/// Whether an orchestrator may have put a variable there; `name` is without the prefix of ours.
pub(super) fn kind(name: &str, value: &str) -> Option<Kind> {
    let as_expected = expected(name)?;
    Some(if as_expected(value) { Kind::Injected } else { Kind::Doubtful })
}

/// What the value of an injected variable has to be; none where no orchestrator gives such a name.
fn expected(name: &str) -> Option<fn(&str) -> bool> {
    let words: Vec<_> = name.split('_').collect();
    let is_port = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    // The words before it name the service further, in any number.
    Some(match words.as_slice() {
        [.., "SERVICE", "HOST"] => is_address,
        [.., "SERVICE", "PORT"] => is_number,
        [.., "PORT", number, protocol] if is_port(number) && PROTOCOLS.contains(protocol) => is_url,
        [.., "PORT", number, protocol, what] if is_port(number) && PROTOCOLS.contains(protocol) => {
            match *what {
                "PROTO" => is_protocol,
                "PORT" => is_number,
                "ADDR" => is_address,
                _ => return None,
            }
        }
        [.., "PORT"] => is_url,
        ["NAME"] => is_link,
        ["ENV", ..] => |_| true,
        // A named port of a service; the name may have several words.
        words if words.windows(2).any(|pair| pair == ["SERVICE", "PORT"]) => is_number,
        _ => return None,
    })
}

fn is_number(value: &str) -> bool {
    value.parse::<u16>().is_ok()
}

/// An address, or a name where a service has none.
fn is_address(value: &str) -> bool {
    value.parse::<IpAddr>().is_ok() || value == "None"
}

fn is_protocol(value: &str) -> bool {
    PROTOCOLS.iter().any(|protocol| protocol.eq_ignore_ascii_case(value))
}

/// As in `tcp://10.0.0.7:7401`.
fn is_url(value: &str) -> bool {
    value.split_once("://").is_some_and(|(protocol, _)| is_protocol(protocol))
}

/// As in `/web/quintet`.
fn is_link(value: &str) -> bool {
    value.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_injects_is_known_by_name_and_value() {
        let injected = [
            ("SERVICE_HOST", "10.96.12.7"),
            ("SERVICE_PORT", "7401"),
            ("SERVICE_PORT_CLIENT", "7401"),
            ("SERVICE_PORT_HTTP_METRICS", "7403"),
            ("PORT", "tcp://10.96.12.7:7401"),
            ("PORT_7401_TCP", "tcp://10.96.12.7:7401"),
            ("PORT_7401_TCP_PROTO", "tcp"),
            ("PORT_7401_TCP_PORT", "7401"),
            ("PORT_7401_TCP_ADDR", "fd00::7"),
            ("INTERNAL_SERVICE_HOST", "10.96.12.8"),
            ("INTERNAL_SERVICE_PORT_PEER", "7402"),
            ("NODE_A_PORT_7402_UDP_ADDR", "10.96.12.8"),
            ("NAME", "/web/quintet"),
            ("ENV_PATH", "/bin"),
        ];
        for (name, value) in injected {
            assert_eq!(kind(name, value), Some(Kind::Injected), "{name}={value}");
        }
        for (name, value) in [("PORT", "7401"), ("LISTEN_PORT", "7402"), ("SERVICE_HOST", "db1")] {
            assert_eq!(kind(name, value), Some(Kind::Doubtful), "{name}={value}");
        }
        for name in ["NODEID", "LISTEN_CLEINT", "PORTS", "PORT_7401", "PORT_X_TCP", "SERVICE", ""] {
            assert_eq!(kind(name, "tcp://10.0.0.1:1"), None, "{name}");
        }
    }

    #[test]
    fn no_setting_has_the_name_of_an_injected_variable() {
        for key in super::super::keys() {
            let name = key.replace('.', "_").to_uppercase();
            assert_eq!(kind(&name, ""), None, "{key}");
        }
    }
}
