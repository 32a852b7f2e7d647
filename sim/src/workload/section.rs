//! The section `[workload]` of a scenario: how many clients there are and how fast they work. What single workloads
//! are told is their own ([`Settings`]).

use toml::Table;

use super::settings::{Mix, Settings};

/// More clients than this are not simulated.
const CLIENTS_MAX: u64 = 1_000;

/// What the clients do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Section {
    /// Clients, each doing one operation after the other.
    pub clients: u64,
    /// Further clients that make unary calls, which do the same.
    pub unary_clients: u64,
    /// A client waits up to this long between two operations, in milliseconds.
    pub think_time_ms_max: u64,
    /// Deadline of an operation, in milliseconds; after it the outcome is unknown.
    pub operation_timeout_ms: u64,
    /// How often each operation is chosen.
    pub mix: Mix,
    /// All that the file says.
    table: Table,
}

impl Section {
    pub(super) fn of(table: &Table, settings: &mut Settings<'_>) -> Section {
        let section = Section {
            clients: settings.required("clients"),
            unary_clients: settings.number_or("unary_clients", 0),
            think_time_ms_max: settings.required("think_time_ms_max"),
            operation_timeout_ms: settings.required("operation_timeout_ms"),
            mix: settings.mix().clone(),
            table: table.clone(),
        };
        let clients = (1..=CLIENTS_MAX).contains(&section.clients);
        settings.ensure(clients, "clients", || format!("must be 1 to {CLIENTS_MAX}"));
        let unary = section.unary_clients <= CLIENTS_MAX;
        settings.ensure(unary, "unary_clients", || format!("must be at most {CLIENTS_MAX}"));
        let says = || "must be at least 1".to_owned();
        settings.ensure(section.operation_timeout_ms > 0, "operation_timeout_ms", says);
        section
    }

    /// What the file tells the workloads.
    pub(super) fn settings(&self) -> Settings<'_> {
        Settings::new(&self.table)
    }
}
