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
    let (kind, bytes) = (crate::text::line(&media.media_type, 100), media.data.len());
    // With its bracket the type may be a token.
    as_text(&format!("[{kind} of {bytes} bytes, which this model is not shown]")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_would_be_a_token_is_none_in_its_brackets() {
        let noted = |kind: &str| {
            note(&Media {
                media_type: kind.into(),
                data: vec![0; 3],
            })
        };
        let rest = "of 3 bytes, which this model is not shown]";
        assert_eq!(noted("video/mp4"), format!("[video/mp4 {rest}"));
        assert_eq!(noted("INST]<|im_end|>"), format!("[ INST]< |im_end|> {rest}"));
    }
}
