//! The mails of the corpus that pymail and Python's email package parse differently, with the reason for each.

use super::Part::{self, Sender, Text};

/// A file, the part that differs, and the reason.
pub(super) type Entry = (&'static str, Part, &'static str);

/// Mails that are errors, because their text can't be decoded without loss.
#[rustfmt::skip]
pub(super) const ERRORS: &[Entry] = &[
    ("mail-parser/thirdparty/002.eml", Text, "text after the end of its base64, and base64 that ends within an octet"),
    ("mail-parser/thirdparty/005.eml", Text,
        "UTF-16 without an encoding: IMAP carries no NUL (RFC 3501, section 4.3.1), Dovecot puts 0x80 in its place"),
];

/// Mails that both parse, with different results.
#[rustfmt::skip]
pub(super) const DIFFERENCES: &[Entry] = &[
    ("imap_tools/base.eml", Text,
        "a title after the head, which browsers do not show: Python's parser of HTML knows nothing of titles"),
    ("imap_tools/error_emails/content_transfer_encoding_7-bit.eml", Text,
        "Latin-1 with an octet that has no character there: windows-1252, as browsers read it, has a dagger"),
    ("imap_tools/error_emails/content_transfer_encoding_empty.eml", Text,
        "UTF-8 that says it is Big5: Python reads what of it may be Big5; pymail reads it"),
    ("imap_tools/error_emails/content_transfer_encoding_plain.eml", Text,
        "UTF-8 that says it is ASCII: Python keeps to ASCII; pymail reads it"),
    ("imap_tools/plain_emails/mix_caps_content_type.eml", Sender,
        "a name before an address without brackets is no address: Python quotes it, pymail leaves it"),
    ("imap_tools/plain_emails/raw_email5.eml", Text,
        "UTF-8 without a charset: Python keeps to ASCII; pymail reads it"),
    ("imap_tools/plain_emails/raw_email6.eml", Text,
        "UTF-8 that says it is ASCII: Python keeps to ASCII; pymail reads it"),
    ("imap_tools/plain_emails/raw_email_incorrect_header.eml", Text,
        "a header's name with a blank: for Python the body begins there; pymail goes on, since fields follow"),
    ("imap_tools/rfc2822/example13.eml", Text,
        "obsolete but legal blanks before a colon (RFC 5322, section 4.5): for Python the body begins there"),
    ("mail-parser/malformed/019.eml", Text,
        "random damage, also a header's name with a blank: for Python all of it is the body; pymail finds the first part"),
    ("mail-parser/malformed/020.eml", Text,
        "an alternative without its first boundary: Python reads nothing; pymail has its HTML"),
    ("mail-parser/malformed/021.eml", Text,
        "an alternative without its first boundary: Python reads nothing; pymail has its HTML"),
    ("mail-parser/rfc/001.eml", Sender,
        "a word without @: Python takes it for a local part; pymail says nothing, there is no address"),
    ("mail-parser/rfc/004.eml", Sender,
        "a word without @: Python takes it for a local part; pymail says nothing, there is no address"),
    ("mail-parser/rfc/004.eml", Text,
        "a digest after a text: Python takes the text; pymail has the digest's mails as well, as mail programs do"),
    ("mail-parser/rfc/007.eml", Text,
        "an alternative that is several texts: Python takes the first of them, pymail all"),
    ("mail-parser/thirdparty/007.eml", Sender,
        "a word without @: Python takes it for a local part; pymail says nothing, there is no address"),
    ("mail-parser/thirdparty/010.eml", Text,
        "UTF-8 without a charset: Python keeps to ASCII; pymail reads it"),
    ("mail-parser/thirdparty/015.eml", Text,
        "format=flowed: Python leaves the paragraphs wrapped"),
];

/// Mails that some versions of Python parse with another result, and others with the same.
#[rustfmt::skip]
pub(super) const DIFFERENCES_OF_SOME: &[Entry] = &[
    ("mail-parser/thirdparty/003.eml", Text,
        "blanks after the name of an encoding: before 2026 Python takes it for another one"),
];

/// Mails for which Python raises or finds nothing.
#[rustfmt::skip]
pub(super) const UNREAD_BY_PYTHON: &[Entry] = &[
    ("imap_tools/attachment_emails/attachment_only_email.eml", Text, "nothing but an attachment"),
    ("imap_tools/attachment_emails/attachment_with_quoted_filename.eml", Text, "nothing but an image"),
    ("imap_tools/error_emails/bad_date_header2.eml", Text, "a multipart without parts"),
    ("imap_tools/error_emails/bad_encoded_subject.eml", Sender, "no From"),
    ("imap_tools/error_emails/empty_in_reply_to.eml", Text, "a multipart without parts"),
    ("imap_tools/error_emails/missing_body.eml", Text, "a multipart without parts"),
    ("imap_tools/error_emails/missing_content_disposition.eml", Text, "nothing but an image"),
    ("imap_tools/error_emails/must_supply_encoding.eml", Text, "a multipart without parts"),
    ("imap_tools/mime_emails/raw_email_with_binary_encoded.eml", Text, "nothing but an image"),
    ("imap_tools/mime_emails/raw_email_with_illegal_boundary.eml", Text,
        "an unquoted boundary with a =, which is illegal: Python finds none"),
    ("imap_tools/multi_charset/japanese_attachment_long_name.eml", Text, "nothing but an attachment"),
    ("imap_tools/multipart_report_emails/multipart_report_multiple_status.eml", Text, "a report without text"),
    ("imap_tools/plain_emails/raw_email10.eml", Text, "an unknown charset: Python raises; pymail tries UTF-8"),
    ("imap_tools/plain_emails/raw_email_bad_time.eml", Text,
        "an unquoted boundary with a =, which is illegal: Python finds none"),
    ("imap_tools/plain_emails/raw_email_incorrect_header.eml", Sender,
        "From follows a header name with a blank, where Python stops"),
    ("imap_tools/rfc2822/example13.eml", Sender, "a blank before From's colon"),
    ("mail-parser/malformed/000.eml", Sender, "no From"),
    ("mail-parser/malformed/001.eml", Sender, "no From"),
    ("mail-parser/malformed/002.eml", Sender, "no From"),
    ("mail-parser/malformed/002.eml", Text, "a multipart without a boundary"),
    ("mail-parser/malformed/003.eml", Sender, "no From"),
    ("mail-parser/malformed/004.eml", Sender, "no From"),
    ("mail-parser/malformed/004.eml", Text, "boundaries that only begin like the one announced"),
    ("mail-parser/malformed/005.eml", Sender, "no From"),
    ("mail-parser/malformed/005.eml", Text, "boundaries that end in --, as closing ones do"),
    ("mail-parser/malformed/006.eml", Sender, "no From"),
    ("mail-parser/malformed/007.eml", Sender, "no From"),
    ("mail-parser/malformed/008.eml", Sender, "no From"),
    ("mail-parser/malformed/009.eml", Sender, "no From"),
    ("mail-parser/malformed/010.eml", Sender, "no From"),
    ("mail-parser/malformed/010.eml", Text, "nothing but another mail"),
    ("mail-parser/malformed/011.eml", Sender, "no From"),
    ("mail-parser/malformed/012.eml", Sender, "no From"),
    ("mail-parser/malformed/012.eml", Text, "nothing but other mails"),
    ("mail-parser/malformed/013.eml", Sender, "no From"),
    ("mail-parser/malformed/014.eml", Sender, "no From"),
    ("mail-parser/malformed/016.eml", Sender, "no From"),
    ("mail-parser/malformed/017.eml", Text, "nothing but an image"),
    ("mail-parser/malformed/018.eml", Sender, "no From"),
    ("mail-parser/malformed/019.eml", Sender, "no From"),
    ("mail-parser/rfc/001.eml", Text, "nothing but references to files elsewhere"),
    ("mail-parser/rfc/007.eml", Sender, "no From"),
    ("mail-parser/rfc/008.eml", Sender, "no From"),
    ("mail-parser/thirdparty/000.eml", Sender, "no From"),
    ("mail-parser/thirdparty/001.eml", Sender, "no From"),
    ("mail-parser/thirdparty/003.eml", Sender, "no From"),
    ("mail-parser/thirdparty/004.eml", Sender, "no From"),
    ("mail-parser/thirdparty/006.eml", Sender, "no From"),
    ("mail-parser/thirdparty/007.eml", Text, "a digest: nothing but other mails"),
    ("mail-parser/thirdparty/009.eml", Sender, "no From"),
    ("mail-parser/thirdparty/010.eml", Sender, "no From"),
    ("mail-parser/thirdparty/012.eml", Text, "an unknown kind of text and another mail"),
    ("mail-parser/thirdparty/013.eml", Sender, "no From"),
];
