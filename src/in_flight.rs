//! The messages that consumers have handed out, and those that are to be handed out again later.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::delivery::Delivery;
use crate::message::Identity;
use crate::signal::Signal;
use crate::uid::{Uid, UidSet, UidValidity};

/// The messages in flight of one handle, shared by its clones.
///
/// Locked for a look or a change only, after the inbox's lock, so that a consumer can be dropped at any time.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    state: Mutex<State>,
    /// Signals that messages have left, or that consumers are to end.
    changed: Signal,
}

/// All UIDs but those of `held` are of one UIDVALIDITY; another one resets them.
#[derive(Debug, Default)]
struct State {
    validity: Option<UidValidity>,
    /// They stay under another UIDVALIDITY, where they are known again by their identities.
    held: HashMap<(UidValidity, Uid), Held>,
    /// Messages that were returned, with the time from which they are handed out again; `None` is never.
    delayed: BTreeMap<Uid, Option<Instant>>,
    /// Further mails with messages that were in flight when they were fetched.
    copies: BTreeMap<Uid, Identity>,
    /// Grows when messages become available that a consumer may not know of: they were let go of, or found by another.
    returns: u64,
    /// The number of the last consumer.
    last: u64,
    /// Consumers up to this number end.
    ended: u64,
}

/// A message that a consumer has handed out, or is about to.
#[derive(Debug)]
struct Held {
    consumer: u64,
    identity: Option<Identity>,
    /// `true` once the app has it.
    is_handed_out: bool,
}

impl InFlight {
    /// Returns the number of a new consumer.
    pub(crate) fn add_consumer(&self) -> u64 {
        let mut state = self.state.lock();
        state.last += 1;
        state.last
    }

    /// Returns `true` if the consumer is to hand out no more.
    pub(crate) fn has_ended(&self, consumer: u64) -> bool {
        consumer <= self.state.lock().ended
    }

    /// Ends all consumers so far, and lets go of the messages that they have not handed out.
    pub(crate) fn end_consumers(&self) {
        let mut state = self.state.lock();
        state.ended = state.last;
        state.held.retain(|_, held| held.is_handed_out);
        state.returns += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Records that a fetch has found more than it returns: a consumer does not begin to wait before it has looked.
    pub(crate) fn leave_for_others(&self) {
        self.state.lock().returns += 1;
    }

    /// Holds these deliveries for a consumer. Drops those whose message is held already under another UID, and leaves
    /// them out while it is; once that one is acknowledged, they are duplicates. Drops all for a consumer that is to end.
    pub(crate) fn hold(&self, consumer: u64, deliveries: &mut Vec<Delivery>) {
        let mut state = self.state.lock();
        if consumer <= state.ended {
            return deliveries.clear();
        }
        let held = state.held_identities();
        deliveries.retain(|it| {
            let copied = it.identity.filter(|identity| held.contains(identity));
            if let Some(identity) = copied {
                state.copies.extend(it.uids().map(|uid| (uid, identity)));
            }
            copied.is_none()
        });
        for delivery in deliveries.iter().filter(|it| it.is_archivable()) {
            for uid in delivery.uids() {
                let held = Held { consumer, identity: delivery.identity, is_handed_out: false };
                state.held.insert((delivery.validity, uid), held);
                if state.validity == Some(delivery.validity) {
                    state.delayed.remove(&uid);
                }
            }
        }
    }

    /// Records that the app gets a message, or an error in its place. Returns `false` for a message that was let go of:
    /// it is fetched again.
    pub(crate) fn hand_out(&self, delivery: &Delivery) -> bool {
        if !delivery.is_archivable() {
            return true; // It was never held.
        }
        let mut state = self.state.lock();
        for uid in delivery.uids() {
            if let Some(held) = state.held.get_mut(&(delivery.validity, uid)) {
                held.is_handed_out = true;
            }
        }
        state.held.contains_key(&(delivery.validity, delivery.uid))
    }

    /// Lets go of all messages of a consumer.
    pub(crate) fn release_all(&self, consumer: u64) {
        let mut state = self.state.lock();
        state.held.retain(|_, held| held.consumer != consumer);
        state.returns += 1;
        drop(state);
        self.changed.notify_all();
    }

    /// Lets go of these deliveries, and delays those until the time.
    pub(crate) fn delay(&self, deliveries: &[&Delivery], delay: Duration) {
        let mut state = self.state.lock();
        state.returns += 1;
        for delivery in deliveries {
            state.delay(delivery, delay);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Delays a message that is not to be handed out for now. Does not wake the consumers, as a returned one does.
    pub(crate) fn postpone(&self, delivery: &Delivery, delay: Duration) {
        self.state.lock().delay(delivery, delay);
    }

    /// Returns `true` if the message is in flight under another UID.
    pub(crate) fn is_copy(&self, delivery: &Delivery) -> bool {
        let is_other = |(validity, uid): &(UidValidity, Uid)| {
            *validity != delivery.validity || delivery.uids().all(|own| own != *uid)
        };
        let state = self.state.lock();
        delivery.identity.is_some()
            && state.held.iter().any(|(key, held)| held.identity == delivery.identity && is_other(key))
    }

    /// Forgets messages that have left the inbox, or that another consumer has claimed.
    pub(crate) fn remove(&self, gone: &UidSet) {
        let mut state = self.state.lock();
        let is_current = state.validity == Some(gone.validity());
        for uid in gone.iter() {
            state.held.remove(&(gone.validity(), uid));
            if is_current {
                state.delayed.remove(&uid);
                state.copies.remove(&uid);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Forgets the messages that are not in this set, the present ones. Those in flight from an earlier UIDVALIDITY stay,
    /// but for those without an identity.
    pub(crate) fn retain(&self, present: &UidSet) {
        let mut state = self.state.lock();
        state.reset_to(present.validity());
        state.held.retain(|(validity, uid), _| *validity != present.validity() || present.contains(*uid));
        state.delayed.retain(|uid, _| present.contains(*uid));
        state.copies.retain(|uid, _| present.contains(*uid));
        drop(state);
        self.changed.notify_all();
    }

    /// Returns the messages that are not to be handed out now: delayed ones, and for a consumer also those in flight,
    /// under any UID.
    pub(crate) fn unavailable(&self, validity: UidValidity, for_consumer: bool) -> HashSet<Uid> {
        let (state, now) = (self.state.lock(), Instant::now());
        if state.validity != Some(validity) {
            return HashSet::new();
        }
        let delayed = state.delayed.iter().filter(|(_, until)| until.is_none_or(|until| until > now));
        let delayed = delayed.map(|(uid, _)| *uid);
        if !for_consumer {
            return delayed.collect();
        }
        let identities = state.held_identities();
        let copies = state.copies.iter().filter(|(_, identity)| identities.contains(identity));
        let held = state.held.keys().filter(|(of, _)| *of == validity).map(|(_, uid)| *uid);
        delayed.chain(held).chain(copies.map(|(uid, _)| *uid)).collect()
    }

    /// Returns a number that grows when messages become available, so that none is missed before a wait.
    pub(crate) fn returns(&self) -> u64 {
        self.state.lock().returns
    }

    /// Returns the time from which the next delayed message is handed out again. Leaves out those that were due at
    /// `began`: a fetch that began then has not handed them out, and another one would not either.
    pub(crate) fn next_due(&self, began: Instant) -> Option<Instant> {
        self.state.lock().delayed.values().copied().flatten().filter(|until| *until > began).min()
    }

    /// Waits until fewer than `most` messages are in flight, or the consumer is to end.
    pub(crate) fn wait_for_room(&self, consumer: u64, most: usize) {
        let mut state = self.state.lock();
        while state.is_full(consumer, most) {
            self.changed.wait(&mut state);
        }
    }

    /// Returns how many more messages there may be in flight, 0 if the consumer is to end.
    pub(crate) fn room(&self, consumer: u64, most: usize) -> usize {
        let state = self.state.lock();
        if consumer > state.ended { most.saturating_sub(state.held.len()) } else { 0 }
    }

    /// Returns how many more messages there may be in flight once these have left the inbox, 0 without consumers that
    /// are to go on.
    pub(crate) fn room_without(&self, leaving: &UidSet, most: usize) -> usize {
        let state = self.state.lock();
        if state.ended == state.last {
            return 0;
        }
        let is_leaving =
            |(validity, uid): &&(UidValidity, Uid)| *validity == leaving.validity() && leaving.contains(*uid);
        most.saturating_sub(state.held.len() - state.held.keys().filter(is_leaving).count())
    }

    /// Waits until none is in flight, at most until a time; returns how many are.
    pub(crate) fn wait_until_empty(&self, limit: Duration) -> usize {
        let mut state = self.state.lock();
        let until = Instant::now().checked_add(limit);
        while !state.held.is_empty() {
            match until {
                Some(until) if self.changed.wait_until(&mut state, until).timed_out() => break,
                Some(_) => {}
                None => self.changed.wait(&mut state),
            }
        }
        state.held.len()
    }
}

impl State {
    /// Returns `true` if the consumer has to wait for a message to leave.
    fn is_full(&self, consumer: u64, most: usize) -> bool {
        self.held.len() >= most && consumer > self.ended
    }

    /// Forgets messages of another UIDVALIDITY, whose UIDs name others now, but for those in flight that have an identity.
    fn reset_to(&mut self, validity: UidValidity) {
        if self.validity != Some(validity) {
            self.validity = Some(validity);
            self.held.retain(|_, held| held.identity.is_some());
            self.delayed.clear();
            self.copies.clear();
        }
    }

    /// Lets go of a delivery, and delays it, with the mails that are known as its copies.
    fn delay(&mut self, delivery: &Delivery, delay: Duration) {
        let until = Instant::now().checked_add(delay);
        let copies = self.copies.iter().filter(|(_, identity)| Some(**identity) == delivery.identity);
        self.delayed.extend(copies.map(|(uid, _)| (*uid, until)));
        for uid in delivery.uids() {
            self.held.remove(&(delivery.validity, uid));
            if self.validity == Some(delivery.validity) {
                self.delayed.insert(uid, until);
            }
        }
    }

    /// Returns the identities of the messages in flight.
    fn held_identities(&self) -> HashSet<Identity> {
        self.held.values().filter_map(|held| held.identity).collect()
    }
}

#[cfg(test)]
mod tests;

/// Waits that block no thread.
#[cfg(feature = "async")]
mod futures {
    use std::task::{Poll, Waker};

    use super::InFlight;
    use crate::signal::Registration;

    impl InFlight {
        /// Returns a place for a future that waits.
        pub(crate) fn registration(&self) -> Registration {
            self.changed.registration()
        }

        /// Does what [`wait_for_room`](Self::wait_for_room) does; the future is woken to look again.
        pub(crate) fn poll_room(
            &self,
            consumer: u64,
            most: usize,
            place: &Registration,
            waker: &Waker,
        ) -> Poll<()> {
            let _former; // Dropped after the lock.
            let waker = waker.clone(); // Before the lock: it is code of the app's runtime.
            let state = self.state.lock();
            if !state.is_full(consumer, most) {
                return Poll::Ready(());
            }
            _former = place.set(waker);
            Poll::Pending
        }

        /// Returns how many messages are in flight; the future is woken to look again if there are any.
        pub(crate) fn poll_empty(&self, place: &Registration, waker: &Waker) -> usize {
            let _former; // Dropped after the lock.
            let waker = waker.clone(); // Before the lock: it is code of the app's runtime.
            let state = self.state.lock();
            if !state.held.is_empty() {
                _former = place.set(waker);
            }
            state.held.len()
        }
    }
}
