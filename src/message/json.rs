//! The line protocol's JSON: `{"Id","SentBy","SentTo","MessageId","Body"}`.
//!
//! The names are those of the subprocess version, which ignores `MessageId` and writes none. A body that is not UTF-8
//! is `BodyBase64`, in the standard alphabet with padding (RFC 4648, section 4). `Properties`, an object, is written only
//! if there are any. The id, the addresses and the properties are not checked here, but when the message is sent.

use std::collections::BTreeMap;

use base64_simd::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Message, MessageId};

/// A message as the line protocol's JSON object.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Wire {
    id: String,
    sent_by: String,
    sent_to: SentTo,
    #[serde(default)]
    message_id: Option<MessageId>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<String, String>,
    #[serde(flatten)]
    body: WireBody,
}

/// One recipient as a string, any other number as an array. An array of one is read, too.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum SentTo {
    One(String),
    Many(Vec<String>),
}

/// A body in JSON: text, or base64 of bytes that are not UTF-8.
#[derive(Serialize, Deserialize)]
pub(crate) enum WireBody {
    Body(String),
    BodyBase64(String),
}

impl From<Vec<u8>> for WireBody {
    fn from(body: Vec<u8>) -> Self {
        String::from_utf8(body).map_or_else(
            |not_text| Self::BodyBase64(STANDARD.encode_to_string(not_text.as_bytes())),
            Self::Body,
        )
    }
}

impl From<Message> for Wire {
    fn from(message: Message) -> Self {
        let Message { id, sent_by, mut sent_to, body, message_id, properties } = message;
        let sent_to = match sent_to.len() {
            1 => SentTo::One(sent_to.remove(0)),
            _ => SentTo::Many(sent_to),
        };
        Self { id, sent_by, sent_to, message_id: Some(message_id), properties, body: body.into() }
    }
}

impl TryFrom<Wire> for Message {
    type Error = base64_simd::Error;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let sent_to = match wire.sent_to {
            SentTo::One(address) => vec![address],
            SentTo::Many(addresses) => addresses,
        };
        let body = match wire.body {
            WireBody::Body(text) => text.into_bytes(),
            WireBody::BodyBase64(code) => STANDARD.decode_to_vec(code)?,
        };
        let message_id = wire.message_id.unwrap_or_else(|| MessageId::random(&wire.sent_by));
        let Wire { id, sent_by, properties, .. } = wire;
        Ok(Self { id, sent_by, sent_to, body, message_id, properties })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(message: &Message) -> Message {
        serde_json::from_str(&serde_json::to_string(message).unwrap()).unwrap()
    }

    #[test]
    fn a_binary_body_survives_json() {
        let message =
            Message::new("1", "a@example.org", ["b@example.org", "c@example.org"], b"\xff\0\r".to_vec());
        assert_eq!(round_trip(&message), message);
        assert!(serde_json::to_string(&message).unwrap().contains(r#""BodyBase64":"/wAN""#));
    }

    #[test]
    fn properties_are_in_json_only_if_there_are_any() {
        let plain = Message::new("1", "a@b", "c@d", "hi").with_message_id("1@b".parse().unwrap());
        let json = r#"{"Id":"1","SentBy":"a@b","SentTo":"c@d","MessageId":"1@b","Body":"hi"}"#;
        assert_eq!(serde_json::to_string(&plain).unwrap(), json);
        assert_eq!(serde_json::from_str::<Message>(json).unwrap(), plain);
        let message = plain.with_property("reply-to", "x\n").with_property("", "");
        let json = json.replace(r#""Body""#, r#""Properties":{"":"","reply-to":"x\n"},"Body""#);
        assert_eq!(serde_json::to_string(&message).unwrap(), json);
        assert_eq!(round_trip(&message), message);
    }

    #[test]
    fn a_message_without_a_message_id_gets_a_new_one() {
        let line = r#"{"Id":"1","SentBy":"a@example.org","SentTo":"c@d","Body":""}"#;
        let read = || serde_json::from_str::<Message>(line).unwrap();
        assert_ne!(read().message_id(), read().message_id());
    }

    #[test]
    fn a_missing_field_invalid_base64_or_a_wrong_type_is_an_error() {
        for bad in [
            r#"{"Id":"1","SentBy":"a@b","SentTo":"c@d"}"#,
            r#"{"Id":"1","SentBy":"a@b","SentTo":"c@d","BodyBase64":"?"}"#,
            r#"{"Id":"1","SentBy":"a@b","SentTo":"c@d","Body":"","MessageId":"a b"}"#,
            r#"{"Id":"1","SentBy":"a@b","SentTo":"c@d","Body":"","Properties":{"a":1}}"#,
            r#"{"Id":1,"SentBy":"a@b","SentTo":"c@d","Body":""}"#,
        ] {
            assert!(serde_json::from_str::<Message>(bad).is_err(), "{bad}");
        }
    }
}
