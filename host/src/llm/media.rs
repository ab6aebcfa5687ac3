//! Media in base64, the form in which both protocols take images.

use super::special::as_text;
pub(super) use crate::base64::encode as base64;
use crate::bindings::types::Media;

/// `media` as a `data:` URL.
pub(super) fn data_url(media: &Media) -> String {
    format!("data:{};base64,{}", media.media_type, base64(&media.data))
}

/// What a model is told of media that its provider does not take.
pub(super) fn note(media: &Media) -> String {
    format!(
        "[{} of {} bytes, which this model is not shown]",
        as_text(&crate::text::line(&media.media_type, 100)),
        media.data.len()
    )
}
