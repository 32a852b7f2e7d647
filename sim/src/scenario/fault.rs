//! What goes wrong, when, and whom it hits. The kinds of faults are in `fault/kind.rs`.
//!
//! A fault strikes at random (`every_s_min` to `every_s_max` from the end of one to the beginning of
//! the next) or at times of its own (`at_s`). Which further fields it takes depends on its kind:
//! [`Kind::fields`]. A field that a kind does not take is an error, not a field without effect.

use serde::Deserialize;

pub use self::kind::{Field, Kind, Links};
use super::{
    error::{ScenarioError, ensure, share},
    points,
    topology::Topology,
};
use crate::judge::promise::Promise;

mod kind;

/// Something that goes wrong, once or again and again. All times are simulated.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// At these moments, in seconds from the beginning of the work; instead of `every_s_min` and
    /// `every_s_max`.
    #[serde(default)]
    pub at_s: Vec<f64>,
    /// Least time from the end of one to the next, in seconds.
    pub every_s_min: Option<f64>,
    /// Most time from the end of one to the next.
    pub every_s_max: Option<f64>,
    /// Least time that it lasts, in seconds.
    pub down_s_min: Option<f64>,
    /// Most time that it lasts.
    pub down_s_max: Option<f64>,
    /// The room that it hits. Default: the room that leaders prefer.
    pub room: Option<String>,
    /// The city that it hits. Default: the city with most nodes.
    pub city: Option<String>,
    /// The node that it hits. Default: one at random.
    pub node: Option<u64>,
    /// Whom of the nodes it hits, where `node` does not say.
    pub who: Option<Who>,
    /// How many times as much as otherwise the clients do, or as long a sync or a frame takes.
    pub factor: Option<u32>,
    /// What users are promised where it strikes. Default: nothing.
    #[serde(default)]
    pub promise: Promise,
    /// Which links of the node it hits. Default: drawn from those that the kind takes.
    pub links: Option<Links>,
    /// Names of the points of the code at which a node may be killed. Default: all.
    #[serde(default)]
    pub points: Vec<String>,
    /// By how much a clock jumps at most, in seconds, from where it stood at first. One that leaps goes a
    /// tenth of it at least.
    pub jump_s_max: Option<f64>,
    /// By how much the rate of a clock differs from an ideal one at most, as a share.
    pub rate_share_max: Option<f64>,
}

/// Whom a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Any node.
    Any,
    /// The node that leads the first range of data.
    Leader,
}

/// A clock jumps by a day at most.
const JUMP_S_MAX: f64 = 86_400.0;

impl Fault {
    /// The kind, as the file spells it.
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Least and most time from one to the next, in seconds; none where it strikes at given moments.
    pub fn every_s(&self) -> Option<(f64, f64)> {
        Some((self.every_s_min?, self.every_s_max?))
    }

    /// Least and most time that it lasts, in seconds; 0 for what happens at once.
    pub fn down_s(&self) -> (f64, f64) {
        (self.down_s_min.unwrap_or(0.0), self.down_s_max.unwrap_or(0.0))
    }

    /// Says what is wrong with the fault at a position of the file, of a scenario of this length on
    /// such a cluster.
    pub(super) fn validate(
        &self,
        position: usize,
        duration_s: f64,
        topology: &Topology,
    ) -> Result<(), ScenarioError> {
        let path = |name: &str| format!("faults[{position}].{name}");
        self.validate_times(&path, duration_s)?;
        let fields = self.kind.fields();
        let down = fields.contains(&Field::Down);
        let given = [
            ("down_s_min", Field::Down, self.down_s_min.is_some()),
            ("down_s_max", Field::Down, self.down_s_max.is_some()),
            ("room", Field::Room, self.room.is_some()),
            ("city", Field::City, self.city.is_some()),
            ("node", Field::Node, self.node.is_some()),
            ("who", Field::Node, self.who.is_some()),
            ("factor", Field::Factor, self.factor.is_some()),
            ("links", Field::Links, self.links.is_some()),
            ("points", Field::Points, !self.points.is_empty()),
            ("jump_s_max", Field::Jump, self.jump_s_max.is_some()),
            ("rate_share_max", Field::Rate, self.rate_share_max.is_some()),
        ];
        for (name, field, is_given) in given {
            let says = format!("a {} does not take it", self.name());
            ensure(!is_given || fields.contains(&field), path(name), says)?;
        }
        if down {
            let ordered = matches!((self.down_s_min, self.down_s_max),
                (Some(min), Some(max)) if min > 0.0 && min <= max && max.is_finite());
            ensure(
                ordered,
                path("down_s_min"),
                format!(
                    "a {} needs down_s_min, above 0, and down_s_max, not below it",
                    self.name()
                ),
            )?;
        }
        if fields.contains(&Field::Factor) {
            let says = "must be 2 to 100: how many times as much, or as long, as usual";
            ensure(matches!(self.factor, Some(2..=100)), path("factor"), says)?;
        }
        let Promise { writable_s, home_s, settled_s, answered_s, .. } = self.promise;
        let seconds = [writable_s, home_s, settled_s, answered_s];
        let mut seconds = seconds.into_iter().flatten();
        let says = "seconds must be above 0";
        ensure(seconds.all(|seconds| seconds > 0.0), path("promise"), says)?;
        let takes = self.kind.links();
        let links = self.links.is_none_or(|links| takes.contains(&links));
        ensure(links, path("links"), format!("a {} takes one of {takes:?}", self.name()))?;
        if fields.contains(&Field::Jump) {
            let fits = self.jump_s_max.is_some_and(|most| most > 0.0 && most <= JUMP_S_MAX);
            ensure(fits, path("jump_s_max"), format!("must be above 0 and at most {JUMP_S_MAX}"))?;
        }
        if fields.contains(&Field::Rate) {
            share(path("rate_share_max"), self.rate_share_max.unwrap_or(f64::NAN))?;
        }
        if let Some(unknown) = self.points.iter().find(|point| !points::is_known(point)) {
            let known = points::names().collect::<Vec<_>>().join(", ");
            let says = format!("there is no point {unknown:?}; there are {known}");
            return ensure(false, path("points"), says);
        }
        let nodes = &topology.nodes;
        let room = self.room.as_ref().is_none_or(|room| nodes.iter().any(|n| n.room == *room));
        ensure(room, path("room"), "no node of the topology is in it")?;
        let city = self.city.as_ref().is_none_or(|city| nodes.iter().any(|n| n.city == *city));
        ensure(city, path("city"), "no node of the topology is in it")?;
        let node = self.node.is_none_or(|id| nodes.iter().any(|n| n.id == id));
        ensure(node, path("node"), "the topology has no such node")?;
        ensure(self.node.is_none() || self.who.is_none(), path("who"), "node says it already")
    }

    fn validate_times(
        &self,
        path: &impl Fn(&str) -> String,
        duration_s: f64,
    ) -> Result<(), ScenarioError> {
        if !self.at_s.is_empty() {
            let at_random = self.every_s_min.is_some() || self.every_s_max.is_some();
            ensure(!at_random, path("at_s"), "excludes every_s_min and every_s_max")?;
            let rise = self.at_s.windows(2).all(|pair| pair[0] < pair[1]);
            let inside = self.at_s.iter().all(|at| *at >= 0.0 && *at < duration_s);
            let says = "must be moments in rising order, from 0 to below duration_s";
            return ensure(rise && inside, path("at_s"), says);
        }
        let Some((min, max)) = self.every_s() else {
            return ensure(
                false,
                path("every_s_min"),
                "every_s_min and every_s_max are needed, or at_s with moments",
            );
        };
        ensure(
            min.is_finite() && max.is_finite() && min > 0.0 && min <= max,
            path("every_s_min"),
            format!("must be above 0 and not above every_s_max, is {min} with {max}"),
        )?;
        ensure(
            min <= duration_s,
            path("every_s_min"),
            "is longer than the scenario: it would never happen",
        )
    }
}
