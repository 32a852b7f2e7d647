//! Figures of the connections to the gRPC ports.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{Gauge, add};

/// The connections of one port.
#[derive(Clone, Debug)]
pub struct ConnectionMetrics {
    /// Open now.
    pub open: Gauge,
    /// How many may be.
    pub limit: Gauge,
    /// Closed because there were too many, or too many that said nothing.
    pub refused: Counter,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PortLabels {
    port: &'static str,
}

/// The connections of all gRPC ports.
pub struct Connections {
    open: Family<PortLabels, Gauge>,
    limit: Family<PortLabels, Gauge>,
    refused: Family<PortLabels, Counter>,
}

impl Connections {
    pub(super) fn new(r: &mut Registry) -> Connections {
        Connections {
            open: add(r, "connections_open", "Connections to the gRPC port: of clients, of nodes"),
            limit: add(r, "connections_limit", "Connections that the gRPC port takes at a time"),
            refused: add(
                r,
                "connections_refused",
                "Connections closed because there were too many, or too many that said nothing",
            ),
        }
    }

    /// The handle of a port; makes its figures appear.
    pub fn of(&self, port: &'static str) -> ConnectionMetrics {
        let labels = PortLabels { port };
        ConnectionMetrics {
            open: self.open.get_or_create_owned(&labels),
            limit: self.limit.get_or_create_owned(&labels),
            refused: self.refused.get_or_create_owned(&labels),
        }
    }
}
