//! One bad message: it harms only itself, and no message is taken for another.

use std::path::PathBuf;
use std::time::Duration;

use pymail::{ErrorKind, Imap};
use rstest::rstest;
use rstest_reuse::apply;

use crate::fixtures::{every_site, postfix};
use crate::mail_site::{ALICE, Site, TAG, mail, message};
use crate::support::files::set_mode;

/// With this backoff, what can't be read is not tried again within a test.
const NEVER: Duration = Duration::from_secs(3_600);

/// Returns the error kinds of deliveries, and the ids of readable ones.
fn kinds(imap: &Imap) -> Vec<Result<String, ErrorKind>> {
    let batch = imap.fetch().unwrap();
    let kind = |delivery: &pymail::Delivery| {
        delivery.message().map(|message| message.id.clone()).map_err(|error| error.kind())
    };
    batch.iter().map(kind).collect()
}

#[apply(every_site)]
fn a_message_that_cannot_be_read_is_an_error_in_its_place(#[case] site: Site) {
    site.deliver(&[message("before", "a")]);
    site.plant(
        &[],
        "From: bob@example.test\nSubject: __TEST__ grown\nContent-Disposition: inline; size=5\n\ntoo much\n",
    );
    site.plant(&[], "From: bob@example.test\nSubject: __TEST__ cut\nContent-Transfer-Encoding: base64\nContent-Disposition: inline; size=5\n\naGVs\n");
    site.deliver(&[message("after", "b")]);
    let imap = site.imap();
    let expected =
        [Ok("before".into()), Err(ErrorKind::Message), Err(ErrorKind::Message), Ok("after".into())];
    assert_eq!(kinds(&imap), expected);
    imap.fetch().unwrap().ack().unwrap();
    assert!(kinds(&imap).is_empty());
    assert_eq!(mail(&site.other_client(), TAG).len(), 4, "the unreadable ones are kept, too");
}

#[apply(every_site)]
fn a_message_over_the_limit_is_an_error_in_its_place(#[case] site: Site) {
    for message in [message("small", "a"), message("large", vec![0; 200_000]), message("small too", "b")] {
        site.deliver(&[message]);
    }
    let imap = Imap::connect(site.imap_config().max_message(100_000)).unwrap();
    let expected = [Ok("small".into()), Err(ErrorKind::TooLarge), Ok("small too".into())];
    assert_eq!(kinds(&imap), expected);
}

#[apply(every_site)]
fn large_messages_come_a_few_at_a_time_and_keep_their_order(#[case] site: Site) {
    let large = |id: &str| message(id, vec![7; 300_000]);
    for message in [large("1"), message("2", "small"), large("3"), large("4")] {
        site.deliver(&[message]);
    }
    let imap = Imap::connect(site.imap_config().batch_bytes(900_000)).unwrap();
    let mut seen = Vec::new();
    loop {
        let batch = imap.fetch().unwrap();
        if batch.is_empty() {
            break;
        }
        seen.push(batch.iter().map(|delivery| delivery.message().unwrap().id.clone()).collect::<Vec<_>>());
        assert!(batch.iter().all(|d| matches!(d.message().unwrap().body.len(), 5 | 300_000)));
        batch.ack().unwrap();
    }
    assert_eq!(seen, [vec!["1", "2", "3"], vec!["4"]]);
}

/// Makes a mail with this many octets of headers before its Subject.
fn plant_behind_headers(site: &Site, octets: usize, subject: &str) {
    let line = format!("X-Diagnostics: {}\r\n", "x".repeat(60));
    let headers = line.repeat(octets / line.len());
    site.plant(
        &[],
        &format!("From: bob@example.test\r\n{headers}Subject: {subject}\r\n\r\nforeign or not\r\n"),
    );
}

/// Enough mails to make the handle expect small ones, and fetch only beginnings.
fn deliver_small(site: &Site) {
    site.deliver(&(0..3).map(|n| message(&format!("small {n}"), "a")).collect::<Vec<_>>());
}

/// Without Cyrus, whose SEARCH finds no Subject behind 64 KiB of headers.
#[rstest]
#[case::dovecot_and_postfix(crate::fixtures::postfix(crate::fixtures::dovecot()))]
#[case::embedded(crate::fixtures::embedded())]
#[ignore = "for --all-servers"]
#[case::on_courier(crate::fixtures::courier())]
fn a_subject_behind_long_headers_is_read(#[case] site: Site, #[values(false, true)] is_shared: bool) {
    let config = || {
        let config = site.imap_config();
        if is_shared { config.shared(Duration::from_secs(300)) } else { config }
    };
    let imap = Imap::connect(config()).unwrap();
    deliver_small(&site);
    imap.fetch().unwrap().ack().unwrap();
    for octets in [20_000, 150_000, 300_000] {
        plant_behind_headers(&site, octets, &format!("{TAG} behind {octets}"));
        plant_behind_headers(&site, octets, &format!("Re: {TAG} behind {octets}"));
    }
    let expected = [20_000, 150_000, 300_000].map(|octets| Ok(format!("behind {octets}")));
    assert_eq!(kinds(&imap), expected);
    drop(imap);
    let another = Imap::connect(config()).unwrap();
    assert_eq!(kinds(&another), expected, "to a handle that knows no sizes yet");
    another.fetch().unwrap().ack().unwrap();
    assert_eq!(mail(&site.other_client(), "INBOX").len(), 3, "the others are foreign, and stay");
}

/// Without Cyrus, whose SEARCH finds no Subject behind 64 KiB of headers.
#[rstest]
#[case::dovecot_and_postfix(crate::fixtures::postfix(crate::fixtures::dovecot()))]
#[case::embedded(crate::fixtures::embedded())]
#[ignore = "for --all-servers"]
#[case::on_courier(crate::fixtures::courier())]
fn a_message_over_the_limit_is_too_large_wherever_its_subject_stands(#[case] site: Site) {
    plant_behind_headers(&site, 200_000, &format!("{TAG} large"));
    plant_behind_headers(&site, 200_000, "Re: __TEST__ lunch");
    deliver_small(&site);
    let imap = Imap::connect(site.imap_config().max_message(100_000)).unwrap();
    let mut small: Vec<_> = (0..3).map(|n| Ok(format!("small {n}"))).collect();
    small.insert(0, Err(ErrorKind::TooLarge));
    let mut came = kinds(&imap);
    came[1..].sort_by_key(|it| it.clone().ok());
    assert_eq!(came, small);
}

#[apply(every_site)]
fn no_limit_is_no_limit(#[case] site: Site, #[values(false, true)] is_shared: bool) {
    site.deliver(&[message("small", "a"), message("large", vec![7; 300_000])]);
    let config = site.imap_config().batch(usize::MAX).batch_bytes(usize::MAX).max_message(usize::MAX);
    let config = config.dedup_window(usize::MAX);
    let config = if is_shared { config.shared(Duration::from_secs(300)) } else { config };
    let imap = Imap::connect(config).unwrap();
    let mut came = kinds(&imap);
    came.sort_by_key(|it| it.clone().ok());
    assert_eq!(came, [Ok("large".into()), Ok("small".into())]);
    let uids = imap.search("ALL").unwrap();
    assert_eq!(imap.fetch_uids(&uids).unwrap().len(), 2);
    assert_eq!(imap.fetch_and_ack().unwrap().len(), 2);
}

/// Adds a mail whose file name states a wrong size: Dovecot ends each connection that fetches it.
fn plant_damaged(site: &Site) -> PathBuf {
    let mail =
        "From: bob@example.test\nMessage-ID: <damaged@example.test>\nSubject: __TEST__ damaged\n\nhello\n";
    let file = format!("mail/{ALICE}/mail/cur/1700000000.M1P1.host,S=5000,W=5100:2,");
    let file = site.dovecot().dir().join(file);
    std::fs::write(&file, mail).unwrap();
    file
}

#[rstest]
fn a_mail_at_which_dovecot_hangs_up_keeps_no_other_back(
    #[from(postfix)] site: Site,
    #[values(false, true)] is_shared: bool,
    #[values(false, true)] has_headers: bool,
) {
    site.deliver(&["1", "2", "3"].map(|id| message(id, "a")));
    let config = site.imap_config().backoff(NEVER, NEVER);
    let config = if is_shared { config.shared(Duration::from_secs(300)) } else { config };
    let imap = Imap::connect(config).unwrap();
    let damaged = plant_damaged(&site);
    if !has_headers {
        set_mode(&damaged, 0o0).unwrap();
    }
    let came = kinds(&imap);
    assert_eq!(came.iter().filter(|it| it.is_ok()).count(), 3, "{came:?}");
    assert_eq!(came.iter().filter(|it| **it == Err(ErrorKind::Disconnected)).count(), 1, "{came:?}");
    let received: usize =
        std::iter::repeat_with(|| imap.fetch_and_ack().unwrap().len()).take_while(|n| *n > 0).sum();
    assert!((3..=4).contains(&received), "{received}");
    site.dovecot().deliver(ALICE, b"From: bob@example.test\r\nSubject: __TEST__ 4\r\n\r\nhello\r\n");
    assert!(kinds(&imap).contains(&Ok("4".into())));
    assert_eq!(imap.deliveries().filter(|it| it.as_ref().unwrap().message().is_err()).count(), 1);
    assert!(imap.stats().withheld > 0);
}

#[rstest]
fn a_damaged_mail_in_the_archive_keeps_nothing_back(#[from(postfix)] site: Site) {
    site.deliver(&["1", "2"].map(|id| message(id, "a")));
    assert_eq!(site.imap().fetch_and_ack().unwrap().len(), 2);
    let folder = site.dovecot().dir().join(format!("mail/{ALICE}/mail/.{TAG}"));
    let mut archived = ["cur", "new"].iter().flat_map(|sub| folder.join(sub).read_dir().unwrap());
    let archived = archived.next().unwrap().unwrap().path();
    set_mode(&archived, 0o0).unwrap();
    std::fs::remove_file(folder.join("dovecot.index.cache")).unwrap();
    site.deliver(&[message("3", "a")]);
    let imap = Imap::connect(site.imap_config().backoff(NEVER, NEVER)).unwrap();
    for _ in 0..3 {
        assert_eq!(kinds(&imap), [Ok("3".into())]);
    }
    let stats = imap.stats();
    assert!((1..=2).contains(&stats.archive_unread) && stats.reconnects <= 2, "{stats:?}");
    imap.fetch().unwrap().ack().unwrap();
}
