//! Request texts of the WebSocket API of which only a few values change: everything else is written once.

use super::signing::{BegunSignature, Signer};

/// What a parameter's value is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// Always this text.
    Text(&'a str),
    /// Always this number.
    Number(&'a str),
    /// A text that each request says.
    TextToCome,
    /// A number that each request says.
    NumberToCome,
}

/// A request's text around its values, and the signature begun over what never changes of it.
///
/// The first value is the order's identity; with a letter before it it is the request's identity too, so that an answer
/// needs no table to be understood.
pub(super) struct Template {
    /// Text before the request's identity, and before each value.
    json: Vec<String>,
    json_end: String,
    /// Signed text before each value; before the first it has gone into `begun`.
    signed: Vec<String>,
    signed_end: String,
    begun: BegunSignature,
}

impl Template {
    /// A request of these parameters, which are in the order of their names: that is the text that is signed.
    pub(super) fn new(signer: &Signer, kind: &str, method: &str, parameters: &[(&str, Value<'_>)]) -> Self {
        debug_assert!(parameters.is_sorted_by_key(|(name, _)| *name));
        let mut json = vec![format!("{{\"id\":\"{kind}")];
        let mut signed = Vec::new();
        let mut json_text = format!("\",\"method\":\"{method}\",\"params\":{{");
        let mut signed_text = String::new();
        for (name, value) in parameters {
            let quote = if matches!(value, Value::Text(_) | Value::TextToCome) { "\"" } else { "" };
            let joint = if signed.is_empty() && signed_text.is_empty() { "" } else { "&" };
            json_text += &format!("\"{name}\":{quote}");
            signed_text += &format!("{joint}{name}=");
            if let Value::Text(constant) | Value::Number(constant) = value {
                json_text += constant;
                signed_text += constant;
            } else {
                json.push(std::mem::take(&mut json_text));
                signed.push(std::mem::take(&mut signed_text));
            }
            json_text += quote;
            json_text.push(',');
        }
        json_text += "\"signature\":\"";
        let beginning = signed.first_mut().map(std::mem::take).unwrap_or_default();
        let begun = signer.begin(beginning.as_bytes());
        Self { json, json_end: json_text, signed, signed_end: signed_text, begun }
    }

    /// Writes the request with these values, signed, into `out`; `scratch` keeps its memory from one to the next.
    #[inline]
    pub(super) fn write(&self, values: &[&[u8]], scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        debug_assert!(values.len() == self.signed.len());
        out.clear();
        scratch.clear();
        let identity = values.first().copied().unwrap_or_default();
        let mut json = self.json.iter();
        if let Some(head) = json.next() {
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(identity);
        }
        for ((json, signed), value) in json.zip(&self.signed).zip(values) {
            out.extend_from_slice(json.as_bytes());
            out.extend_from_slice(value);
            scratch.extend_from_slice(signed.as_bytes());
            scratch.extend_from_slice(value);
        }
        out.extend_from_slice(self.json_end.as_bytes());
        scratch.extend_from_slice(self.signed_end.as_bytes());
        out.extend_from_slice(&self.begun.sign(scratch));
        out.extend_from_slice(b"\"}}");
    }
}
