//! Request texts of the WebSocket API of which only a few values change: everything else is written once.

use super::signing::{BegunSignature, SIGNATURE_BYTES, Signer};

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
    last: Last,
}

/// The last request that was written. Where the next one's values are as long, and most are, they are written over its own.
#[derive(Default)]
struct Last {
    lengths: Vec<usize>,
    text: Vec<u8>,
    /// What was signed of it, behind what has gone into the begun signature.
    payload: Vec<u8>,
    /// Where each value lies in the one and in the other; the request's identity and the signature in the first alone.
    text_at: Vec<usize>,
    payload_at: Vec<usize>,
    identity_at: usize,
    signature_at: usize,
}

/// Bytes of a request and of what is signed of it: more make room once.
const BYTES: usize = 1_024;

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
        let last = Last {
            lengths: Vec::with_capacity(signed.len()),
            text: Vec::with_capacity(BYTES),
            payload: Vec::with_capacity(BYTES),
            text_at: Vec::with_capacity(signed.len()),
            payload_at: Vec::with_capacity(signed.len()),
            ..Last::default()
        };
        Self { json, json_end: json_text, signed, signed_end: signed_text, begun, last }
    }

    /// Writes the request with these values, signed, into `out`.
    #[inline]
    pub(super) fn write(&mut self, values: &[&[u8]], out: &mut Vec<u8>) {
        debug_assert!(values.len() == self.signed.len());
        let lengths = values.iter().map(|value| value.len());
        if !lengths.eq(self.last.lengths.iter().copied()) {
            self.lay_out(values);
        }
        let last = &mut self.last;
        let over = |text: &mut Vec<u8>, at: usize, value: &[u8]| {
            text[at..at + value.len()].copy_from_slice(value);
        };
        over(&mut last.text, last.identity_at, values.first().copied().unwrap_or_default());
        for (i, value) in values.iter().enumerate() {
            over(&mut last.text, last.text_at[i], value);
            over(&mut last.payload, last.payload_at[i], value);
        }
        over(&mut last.text, last.signature_at, &self.begun.sign(&last.payload));
        out.clear();
        out.extend_from_slice(&last.text);
    }

    /// Makes room for values of these lengths: everything of a request but them and its signature.
    #[cold]
    fn lay_out(&mut self, values: &[&[u8]]) {
        let last = &mut self.last;
        last.lengths.clear();
        last.lengths.extend(values.iter().map(|value| value.len()));
        let Last { text, payload, text_at, payload_at, .. } = last;
        text.clear();
        payload.clear();
        text_at.clear();
        payload_at.clear();
        let mut json = self.json.iter();
        text.extend_from_slice(json.next().map_or(&[], |head| head.as_bytes()));
        last.identity_at = text.len();
        text.extend_from_slice(values.first().copied().unwrap_or_default());
        for ((json, signed), value) in json.zip(&self.signed).zip(values) {
            text.extend_from_slice(json.as_bytes());
            text_at.push(text.len());
            text.extend_from_slice(value);
            payload.extend_from_slice(signed.as_bytes());
            payload_at.push(payload.len());
            payload.extend_from_slice(value);
        }
        text.extend_from_slice(self.json_end.as_bytes());
        last.signature_at = text.len();
        text.extend_from_slice(&[0; SIGNATURE_BYTES]);
        text.extend_from_slice(b"\"}}");
        payload.extend_from_slice(self.signed_end.as_bytes());
    }
}
