//! The time of arrival, from servers that send it in odd forms or leave it out.

use std::time::{Duration, UNIX_EPOCH};

use rstest::rstest;

use super::imap;
use super::imap::{holding, mail};
use crate::support::script::Step;

#[rstest]
#[case::a_date("INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" ", Some(837_596_665))]
#[case::no_date("INTERNALDATE \"now\" ", None)]
#[case::an_impossible_one("INTERNALDATE \"31-Feb-1996 02:44:25 -0700\" ", None)]
#[case::nil("INTERNALDATE NIL ", None)]
#[case::a_number("INTERNALDATE 837596665 ", None)]
#[case::a_list("INTERNALDATE (1 (2)) ", None)]
#[case::none("", None)]
fn an_internaldate_that_is_missing_or_no_date_is_no_error(
    #[case] date: &'static str,
    #[case] expected: Option<u64>,
) {
    let mails: Vec<String> = (1..=2).map(|id| mail(id, "hello")).collect();
    let server = holding(&["UIDPLUS"], &mails)
        .ahead("UID FETCH", move |_| {
            let of = |(uid, mail): (usize, &String)| {
                format!(
                    "* {uid} FETCH (UID {uid} {date}RFC822.SIZE {0} BODY[]<0> {{{0}}}\r\n{mail})\r\n",
                    mail.len()
                )
            };
            Step::Say((1..).zip(&mails).map(of).collect::<Vec<_>>().concat() + "TAG OK done\r\n")
        })
        .start();
    let batch = imap(&server).fetch().unwrap();
    let expected = expected.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
    for delivery in &batch {
        assert_eq!(delivery.message().unwrap().text(), Ok("hello"));
        assert_eq!(delivery.arrived_at(), expected);
    }
    let fetches = server.heard("UID FETCH");
    assert!(fetches.len() == 1 && fetches[0].contains(" INTERNALDATE "), "{fetches:?}");
    assert_eq!(batch.len(), 2);
}
