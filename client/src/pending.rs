//! What awaits an answer on one stream: a slab of reply slots.
//!
//! An id on the wire is the slot's index with a number above it that differs at each use of the
//! slot, so that an answer that the server gives twice finds nobody. A slot stays taken until its
//! answer comes or the stream ends, even if the caller has gone: until then the server counts the
//! request as in flight, and so does the client.

use quintet_proto::v1;
use tokio::sync::oneshot;

/// The result part of an answer.
pub(crate) type Answer = v1::session_response::Result;

/// A call that awaits an answer.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) reply: oneshot::Sender<Answer>,
    /// Permits that the request holds.
    pub(crate) permits: u32,
}

/// Reply slots by id. Its size is bounded by the permits of the session.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    slots: Vec<Slot>,
    free: Vec<u32>,
    uses: u32,
}

#[derive(Debug)]
struct Slot {
    id: u64,
    waiter: Option<Waiter>,
}

impl Pending {
    pub(crate) fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Takes a slot; the id is never 0.
    pub(crate) fn insert(&mut self, waiter: Waiter) -> u64 {
        self.uses = self.uses.checked_add(1).unwrap_or(1);
        let high = u64::from(self.uses) << 32;
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.id = high | u64::from(index);
            slot.waiter = Some(waiter);
            return slot.id;
        }
        let id = high | self.slots.len() as u64;
        self.slots.push(Slot { id, waiter: Some(waiter) });
        id
    }

    /// Frees the slot of an answer; `None` if no call waits under this id.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Waiter> {
        let index = id as u32;
        let slot = self.slots.get_mut(index as usize).filter(|slot| slot.id == id)?;
        let waiter = slot.waiter.take()?;
        self.free.push(index);
        Some(waiter)
    }

    /// Drops every waiter: they learn that the stream is lost.
    pub(crate) fn clear(&mut self) {
        self.slots.clear();
        self.free.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(permits: u32) -> (Waiter, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        (Waiter { reply, permits }, answer)
    }

    #[test]
    fn a_second_answer_to_an_id_finds_nobody() {
        let mut pending = Pending::default();
        let first = pending.insert(waiter(1).0);
        assert_eq!(pending.remove(first).unwrap().permits, 1);
        let second = pending.insert(waiter(2).0);
        assert_eq!(first as u32, second as u32, "the slot is used again");
        assert!(pending.remove(first).is_none());
        assert!(!pending.is_empty());
        assert_eq!(pending.remove(second).unwrap().permits, 2);
        assert!(pending.remove(second).is_none());
        assert!(pending.remove(u64::MAX).is_none());
        assert!(pending.is_empty());
    }

    #[test]
    fn clear_tells_every_waiter() {
        let mut pending = Pending::default();
        let (waiter, mut answer) = waiter(1);
        let id = pending.insert(waiter);
        pending.clear();
        assert!(matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(pending.is_empty());
        assert!(pending.remove(id).is_none());
    }
}
