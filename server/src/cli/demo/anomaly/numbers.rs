//! The numbers of the story: who sets out when, and how long the ways are.
//!
//! C1 takes 500 of the one time server and A1 takes 510; A1's write is at R2 at 512 and C1's at 550. With a seed the
//! ways are drawn, within bounds that leave the story what it is: C1 has its timestamp first, and is at R2 last.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Virtual time in microseconds, and what clocks show.
pub(super) type Us = u64;

/// How many time servers there are: two in each room of the first city, one in the other city.
pub(super) const SERVERS: usize = 5;
/// Which of them the leader of R2 is beside; its clock is right.
pub(super) const LEADER: usize = 2;
/// The time servers of the first city come first.
const NEAR: usize = 4;
/// By how much a clock is wrong.
const HOUR: Us = 3_600_000_000;

/// The numbers of a story.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    /// When each client sets out for its timestamp.
    pub(super) c1_asks: Us,
    pub(super) a1_asks: Us,
    /// Its way to the time server, back, and to R2.
    pub(super) c1_ways: [Us; 3],
    pub(super) a1_ways: [Us; 3],
    /// From the leader of R2 to each time server, one way.
    pub(super) to_server: [Us; SERVERS],
    /// Whose clock is an hour ahead, and whose an hour behind.
    wild: Option<(usize, usize)>,
}

impl Numbers {
    /// Those of docs/time.md, or drawn by a seed above 0.
    pub(super) fn of(seed: u64) -> Numbers {
        let mut drawn = 0_u64;
        let mut between = |least: Us, most: Us| {
            drawn += 1;
            least + xxh3_64_with_seed(&drawn.to_le_bytes(), seed) % (most - least + 1)
        };
        let far = |drawn: Us| if seed == 0 { 25_000 } else { drawn };
        let near = |drawn: Us| if seed == 0 { 1_000 } else { drawn };
        let c1_ways = [(); 3].map(|()| far(between(20_000, 32_000)));
        let a1_ways = [(); 3].map(|()| near(between(200, 2_000)));
        let mut to_server = [0; SERVERS];
        for (server, way) in to_server.iter_mut().enumerate() {
            let (close, distant) = (near(between(200, 2_000)), far(between(20_000, 32_000)));
            *way = match server {
                LEADER => 0,
                _ if server < NEAR => close,
                _ => distant,
            };
        }
        // Two of the four others.
        let ahead = usize::try_from(between(0, 3)).unwrap_or(0);
        let behind = (ahead + 1 + usize::try_from(between(0, 2)).unwrap_or(0)) % 4;
        let but_leader = |number: usize| if number >= LEADER { number + 1 } else { number };
        let wild = (seed > 0).then(|| (but_leader(ahead), but_leader(behind)));
        Numbers { c1_asks: 475_000, a1_asks: 509_000, c1_ways, a1_ways, to_server, wild }
    }

    /// What the one time server gives each: its clock when it is asked.
    pub(super) fn naive_times(&self) -> (Us, Us) {
        (self.c1_asks + self.c1_ways[0], self.a1_asks + self.a1_ways[0])
    }

    /// When each sets out for R2: it has its timestamp by then, where it needs one.
    pub(super) fn set_out(&self) -> (Us, Us) {
        let (c1, a1) = self.naive_times();
        (c1 + self.c1_ways[1], a1 + self.a1_ways[1])
    }

    /// When each is at R2.
    pub(super) fn arrive(&self) -> (Us, Us) {
        let (c1, a1) = self.set_out();
        (c1 + self.c1_ways[2], a1 + self.a1_ways[2])
    }

    /// The moment of the snapshot: between the two timestamps of the one time server.
    pub(super) fn moment(&self) -> Us {
        let (c1, a1) = self.naive_times();
        c1.midpoint(a1)
    }

    /// When the snapshot is read: before C1's write is there, and after.
    pub(super) fn looks(&self) -> [Us; 2] {
        [530_000, self.arrive().0 + 10_000]
    }

    /// When somebody reads the newest: C1's write is there, or on its way.
    pub(super) fn gets(&self) -> Us {
        self.arrive().0 + 500
    }

    /// What the clock of a time server shows.
    pub(super) fn clock(&self, server: usize, now: Us) -> Us {
        match self.wild {
            Some((ahead, _)) if ahead == server => now + HOUR,
            Some((_, behind)) if behind == server => now.saturating_sub(HOUR),
            _ => now,
        }
    }

    /// Whose clocks are wrong, for people.
    pub(super) fn wrong_clocks(&self) -> Option<String> {
        let (ahead, behind) = self.wild?;
        Some(format!(
            "Of the five time servers, the clock of n{} is an hour ahead, and that of n{} an hour behind.",
            ahead + 1,
            behind + 1
        ))
    }
}
