//! What both wire formats share: cutting text into fragments, and events of a stream.

use serde_json::Value;

use super::script::Delivery;

/// `text` in the pieces in which a model would stream it; never none.
pub(super) fn pieces(text: &str, delivery: Delivery) -> Vec<String> {
    let size = if delivery == Delivery::Fragments { 1 } else { 12 };
    let chars: Vec<char> = text.chars().collect();
    let mut pieces: Vec<String> = chars.chunks(size).map(|piece| piece.iter().collect()).collect();
    if pieces.is_empty() {
        pieces.push(String::new());
    }
    pieces
}

/// One server-sent event without a name.
pub(super) fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// One server-sent event, named after its type.
pub(super) fn named(value: &Value) -> String {
    format!(
        "event: {}\ndata: {value}\n\n",
        value["type"].as_str().unwrap_or_default()
    )
}
