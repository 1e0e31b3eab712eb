use std::time::{Duration, Instant};

use super::*;
use crate::error::Error;

fn validity(number: u32) -> UidValidity {
    UidValidity::new(number, "inbox")
}

fn uids(validity: UidValidity, numbers: impl IntoIterator<Item = u32>) -> UidSet {
    UidSet::new(validity, numbers.into_iter().filter_map(Uid::new))
}

/// Returns a delivery of the message with this id.
fn delivery(id: u32, uid: u32, validity: UidValidity) -> Delivery {
    let headers = format!("Message-ID: <{id}@example.test>\r\nSubject: x\r\nFrom: bob@example.test\r\n\r\n");
    let delivery = Delivery::new(Uid::new(uid).unwrap(), validity, Err(Error::message("torn")), None);
    Delivery { identity: Identity::read(headers.as_bytes()), ..delivery }
}

/// Holds deliveries for a consumer; returns the UIDs of those that it is to hand out.
fn hold(in_flight: &InFlight, consumer: u64, deliveries: &[Delivery]) -> Vec<u32> {
    let mut deliveries = deliveries.to_vec();
    in_flight.hold(consumer, &mut deliveries);
    deliveries.iter().map(|it| it.uid.get()).collect()
}

#[test]
fn a_message_that_the_app_has_is_in_flight_also_under_another_uidvalidity() {
    let (in_flight, before, now) = (InFlight::default(), validity(7), validity(8));
    let (first, second) = (in_flight.add_consumer(), in_flight.add_consumer());
    in_flight.retain(&uids(before, [1, 2]));
    let batch = [delivery(1, 1, before), delivery(2, 2, before)];
    assert_eq!(hold(&in_flight, first, &batch), [1, 2]);
    assert!(in_flight.hand_out(&batch[0]));
    in_flight.retain(&uids(now, [11, 12]));
    let again = [delivery(1, 11, now), delivery(2, 12, now), delivery(3, 13, now)];
    assert_eq!(again.each_ref().map(|it| in_flight.is_copy(it)), [true, true, false]);
    assert_eq!(hold(&in_flight, second, &again), [13]);
    assert!(in_flight.hand_out(&batch[1]) && !in_flight.is_copy(&batch[1]));
    assert_eq!(in_flight.unavailable(now, true), [11, 12, 13].into_iter().filter_map(Uid::new).collect());
    assert_eq!(in_flight.room(first, 4), 1);
    in_flight.delay(&[&batch[0]], Duration::MAX);
    assert_eq!(in_flight.unavailable(now, false), [11].into_iter().filter_map(Uid::new).collect());
    in_flight.delay(&[&batch[0]], Duration::ZERO);
    assert_eq!(in_flight.unavailable(now, true), [12, 13].into_iter().filter_map(Uid::new).collect());
    in_flight.release_all(first);
    in_flight.release_all(second);
    assert_eq!(in_flight.wait_until_empty(Duration::ZERO), 0);
}

#[test]
fn a_message_without_an_identity_is_let_go_of_under_another_uidvalidity() {
    let in_flight = InFlight::default();
    let unnamed = Delivery { identity: None, ..delivery(1, 1, validity(7)) };
    let consumer = in_flight.add_consumer();
    in_flight.retain(&uids(validity(7), [1]));
    assert_eq!(hold(&in_flight, consumer, std::slice::from_ref(&unnamed)), [1]);
    assert!(in_flight.hand_out(&unnamed));
    in_flight.retain(&uids(validity(8), [1]));
    assert_eq!((in_flight.room(consumer, 1), in_flight.hand_out(&unnamed)), (1, false));
}

#[test]
fn a_delay_beyond_all_times_does_not_end() {
    let (in_flight, consumer) = (InFlight::default(), 1);
    in_flight.retain(&uids(validity(7), [1]));
    let one = delivery(1, 1, validity(7));
    let began = Instant::now();
    for (delay, is_unavailable) in [(Duration::MAX, true), (Duration::ZERO, false), (Duration::MAX, true)] {
        in_flight.delay(&[&one], delay);
        assert_eq!(in_flight.unavailable(validity(7), false).is_empty(), !is_unavailable);
        assert_eq!(in_flight.next_due(began).is_none(), is_unavailable);
    }
    assert_eq!(hold(&in_flight, consumer, &[one]), [1]);
}

#[test]
fn a_consumer_that_is_to_end_holds_nothing() {
    let in_flight = InFlight::default();
    let consumer = in_flight.add_consumer();
    in_flight.end_consumers();
    assert_eq!(hold(&in_flight, consumer, &[delivery(1, 1, validity(7))]), [0; 0]);
    assert_eq!(in_flight.wait_until_empty(Duration::ZERO), 0);
}
