//! Tests of a view: owners, obsolete entries and waits.

use super::*;

const LEASE: Duration = Duration::from_secs(60);
const A: Consumer = Consumer(0xa);
const B: Consumer = Consumer(0xb);

fn validity(number: u32) -> UidValidity {
    UidValidity::new(7, "inbox").with_number(number)
}

fn uids(numbers: &[u32]) -> UidSet {
    UidSet::new(validity(7), numbers.iter().filter_map(|&n| Uid::new(n)))
}

fn uid(number: u32) -> Uid {
    Uid::new(number).unwrap()
}

fn entry(at: u32, by: Consumer, validity: u32, op: Op) -> Entry {
    Entry { uid: uid(at), by, validity, lease: None, op }
}

/// Returns the place in a log with this UIDNEXT.
fn at(next_uid: u32) -> LogPlace {
    LogPlace { validity: 3, next_uid }
}

fn view(entries: Vec<Entry>) -> View {
    let mut view = View { validity: Some(validity(7)), ..View::default() };
    view.set_entries(entries, at(100));
    view
}

#[test]
fn a_claim_to_a_message_that_came_after_the_search_is_kept() {
    let claim = |at: u32, numbers: &[u32]| entry(at, Consumer(at.into()), 7, Op::Claim(uids(numbers)));
    let mut view = view(vec![claim(1, &[1]), claim(2, &[2])]);
    view.set_present(&uids(&[2]));
    assert_eq!(view.obsolete(LEASE), [uid(1)]);
    view.set_entries(vec![claim(2, &[2]), claim(3, &[3])], at(100));
    assert_eq!(view.obsolete(LEASE), [], "3 came after the search");
    view.set_present(&uids(&[2, 3]));
    assert_eq!(view.obsolete(LEASE), []);
}

#[test]
fn an_archived_message_is_not_owned_again_when_the_log_is_read_again() {
    let entries = || vec![entry(1, A, 7, Op::Claim(uids(&[1, 2])))];
    let mut view = view(entries());
    view.remove_archived(&uids(&[1]));
    view.set_entries(entries(), at(100));
    assert_eq!((view.owner(uid(1)), view.owner(uid(2))), (None, Some(A)));
    assert!(view.has_any(A) && view.was_archived(validity(7), uid(1)));
    view.remove_archived(&uids(&[2]));
    view.set_entries(entries(), at(100));
    assert!(!view.has_any(A), "so that its lease is not renewed for ever");
    assert_eq!(view.obsolete(LEASE), [uid(1)], "also without a search");
}

#[test]
fn messages_that_another_client_expunged_are_not_owned() {
    let mut view = view(vec![entry(1, A, 7, Op::Claim(uids(&[1])))]);
    assert!(view.has_any(A));
    view.set_present(&uids(&[2]));
    assert!(!view.has_any(A));
}

/// Another client removes the log; both claim again, A one of its two messages.
#[test]
fn messages_whose_claims_were_removed_are_left_alone_until_their_owners_lease_has_run_out() {
    let claims = vec![entry(5, A, 7, Op::Claim(uids(&[1, 2]))), entry(6, B, 7, Op::Claim(uids(&[3])))];
    let mut view = view(claims);
    view.renewed_at = Some(Instant::now());
    let free = |view: &View| view.choose_free(B, &uids(&[1, 2, 3, 4]), 10, LEASE);
    assert_eq!(free(&view), uids(&[4]));
    assert_eq!(view.replace_entries(Vec::new(), at(1), B, LEASE), [uid(3)], "B claims it again");
    assert_eq!(free(&view), uids(&[3, 4]));
    let again = vec![entry(1, B, 7, Op::Claim(uids(&[3]))), entry(2, A, 7, Op::Claim(uids(&[1])))];
    assert_eq!(view.replace_entries(again, at(3), B, LEASE), []);
    assert_eq!(free(&view), uids(&[4]));
    view.unlogged.values_mut().for_each(|last| last.since -= LEASE + MARGIN);
    assert_eq!(free(&view), uids(&[2, 4]));
    view.set_present(&uids(&[4]));
    assert_eq!(view.replace_entries(Vec::new(), at(1), B, LEASE), [], "they have left the inbox");
    assert!(view.unlogged.is_empty());
}

#[test]
fn a_consumer_whose_lease_has_run_out_claims_nothing_again() {
    let lost = |renewed_at, may_have_lost| {
        let mut view = view(vec![entry(1, A, 7, Op::Claim(uids(&[1])))]);
        (view.renewed_at, view.may_have_lost) = (renewed_at, may_have_lost);
        view.replace_entries(Vec::new(), at(1), A, LEASE).len()
    };
    let now = Instant::now();
    let before = now.checked_sub(LEASE + MARGIN).unwrap();
    assert_eq!((lost(Some(now), false), lost(Some(now), true)), (1, 0));
    assert_eq!((lost(Some(before), false), lost(None, false)), (0, 0));
}

#[test]
fn a_renewal_replaces_the_one_before() {
    let renew = |at| entry(at, A, 7, Op::Renew);
    let view = view(vec![entry(1, A, 7, Op::Claim(uids(&[1]))), renew(2), renew(3), renew(4)]);
    assert_eq!(view.obsolete(LEASE), [uid(2), uid(3)], "without a search");
}

/// Consumers start and stop, and none acknowledges the message.
#[test]
fn a_replaced_claim_is_obsolete_when_its_successor_is_older_than_every_lease() {
    let claims = (1..9).step_by(2).map(|at| entry(at, Consumer(at.into()), 7, Op::Claim(uids(&[1]))));
    let releases = (2..9).step_by(2).map(|at| entry(at, Consumer((at - 1).into()), 7, Op::Release));
    let mut entries: Vec<Entry> = claims.chain(releases).collect();
    let mut view = view(entries.clone());
    assert_eq!(view.obsolete(LEASE), []);
    for first_read in view.first_read_at.values_mut() {
        *first_read -= 2 * LEASE;
    }
    for _ in 0..10 {
        let gone = view.obsolete(LEASE);
        entries.retain(|entry| !gone.contains(&entry.uid));
        view.set_entries(entries.clone(), at(100));
    }
    assert_eq!(entries.iter().map(|entry| entry.uid.get()).collect::<Vec<_>>(), [7, 8]);
}

#[test]
fn after_a_change_of_uidvalidity_consumers_that_had_messages_are_waited_for() {
    let had = || entry(1, A, 6, Op::Claim(uids(&[1])));
    let waits = |entries: Vec<Entry>| view(entries).reclaim_wait(B, LEASE).is_some();
    assert!(waits(vec![had()]));
    assert!(!waits(vec![had(), entry(2, A, 7, Op::Claim(uids(&[9])))]), "claimed again");
    assert!(!waits(vec![had(), entry(2, A, 7, Op::Release)]), "released now");
    assert!(!waits(vec![had(), entry(2, A, 6, Op::Release)]), "released before");
    assert!(waits(vec![had(), entry(2, B, 7, Op::Release)]), "another consumer's entry");
    let mut late = view(vec![had()]);
    late.last_entries.get_mut(&A).unwrap().since -= LEASE + MARGIN;
    assert_eq!(late.reclaim_wait(B, LEASE), None);
    assert_eq!(late.obsolete(LEASE), [uid(1)]);
}

#[test]
fn entries_of_another_uidvalidity_are_kept_until_their_writer_has_claimed_again() {
    let entries = vec![
        entry(1, A, 6, Op::Claim(uids(&[1]))),
        entry(2, B, 6, Op::Claim(uids(&[2]))),
        entry(3, B, 7, Op::Claim(uids(&[9]))),
    ];
    let mut view = view(entries);
    assert_eq!(view.obsolete(LEASE), [uid(2)]);
    view.set_present(&uids(&[]));
    assert_eq!(view.obsolete(LEASE), [uid(2)], "B's last entry shows that its earlier claims are void");
}

#[test]
fn of_two_leases_the_longer_counts() {
    let mut claim = entry(1, A, 7, Op::Claim(uids(&[1])));
    claim.lease = Some(2 * LEASE);
    let mut view = view(vec![claim]);
    view.last_entries.get_mut(&A).unwrap().since -= LEASE + MARGIN;
    assert_eq!(view.take_from_silent(B, &uids(&[1]), 10, LEASE), None);
    assert_eq!(view.other_leases(B, LEASE).into_iter().collect::<Vec<_>>(), [2 * LEASE]);
    view.last_entries.get_mut(&A).unwrap().since -= LEASE;
    assert!(view.take_from_silent(B, &uids(&[1]), 10, LEASE).is_some());
}

#[test]
fn the_entries_of_a_log_that_was_made_anew_are_not_taken_for_earlier_ones_with_their_uids() {
    let claim = || vec![entry(1, A, 7, Op::Claim(uids(&[1])))];
    let mut view = view(claim());
    let earlier = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    view.first_read_at.insert(uid(1), earlier);
    view.last_entries.get_mut(&A).unwrap().since = earlier;
    let since = |view: &View| [view.first_read_at[&uid(1)], view.last_entries[&A].since];
    view.set_entries(claim(), at(100));
    assert_eq!(since(&view), [earlier; 2]);
    view.set_entries(claim(), LogPlace { validity: 4, next_uid: 100 });
    assert!(since(&view).iter().all(|since| *since > earlier));
}
