//! How near a node stands to the client: the same room, the same city, or elsewhere.

use quintet_proto::v1;

/// Where a client stands, in the names of the cluster's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Locality {
    pub(crate) city: String,
    pub(crate) room: String,
}

/// Nearer ones come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Nearness {
    SameRoom,
    SameCity,
    Elsewhere,
    /// The node's locality is not known.
    #[default]
    Unknown,
}

/// How near a node is to a client; alike for all where the client does not say where it stands.
pub(crate) fn nearness(client: Option<&Locality>, node: &v1::NodePlace) -> Nearness {
    match client {
        None => Nearness::Unknown,
        Some(client) if client.city != node.city => Nearness::Elsewhere,
        Some(client) if client.room != node.room => Nearness::SameCity,
        Some(_) => Nearness::SameRoom,
    }
}

/// Reads `city=NAME,room=NAME`.
pub(crate) fn locality(text: &str) -> Option<Locality> {
    let (first, second) = text.split_once(',')?;
    let named = |part: &str, name: &str| {
        let (key, value) = part.split_once('=')?;
        (key.trim() == name && !value.trim().is_empty()).then(|| value.trim().to_owned())
    };
    let city = named(first, "city").or_else(|| named(second, "city"))?;
    let room = named(first, "room").or_else(|| named(second, "room"))?;
    Some(Locality { city, room })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        let here = locality("city=c1, room=a").expect("valid");
        assert_eq!(locality("room=a,city=c1"), Some(here.clone()));
        for wrong in ["", "city=c1", "city=c1,room=", "city=c1,city=c2", "c1,a"] {
            assert_eq!(locality(wrong), None, "{wrong}");
        }
        let node = |city: &str, room: &str| v1::NodePlace {
            city: city.to_owned(),
            room: room.to_owned(),
            ..v1::NodePlace::default()
        };
        let near = |city, room| nearness(Some(&here), &node(city, room));
        assert_eq!(near("c1", "a"), Nearness::SameRoom);
        assert_eq!(near("c1", "b"), Nearness::SameCity);
        assert_eq!(near("c2", "a"), Nearness::Elsewhere);
        assert_eq!(nearness(None, &node("c1", "a")), Nearness::Unknown);
    }
}
