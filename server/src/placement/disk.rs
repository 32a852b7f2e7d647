//! What a node's disk is good for, for those who decide where leaders belong. How that is seen: `storage/disk.rs`.

/// What a disk is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Everything.
    #[default]
    Well,
    /// Following: there is less free space than is kept free.
    NearlyFull,
    /// Nothing: it does not answer, or did not until a moment ago.
    Hung,
}

impl Condition {
    /// In the order of their numbers.
    pub(crate) const ALL: [Condition; 3] =
        [Condition::Well, Condition::NearlyFull, Condition::Hung];

    /// As in metrics and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Condition::Well => "well",
            Condition::NearlyFull => "nearly_full",
            Condition::Hung => "hung",
        }
    }
}
