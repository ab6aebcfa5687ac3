//! From a response to what the model reads: a head line, a part of the text, and where to go on.

use hermes_sdk::Error;

use crate::charset::decode;
use crate::fetch::Response;
use crate::render::{Readable, render};

const CHARS: usize = 20_000;
/// The host would cut the middle out of a longer result.
const CHARS_MAX: usize = 40_000;
/// What of an error page is shown, in characters.
const ERROR_CHARS: usize = 500;

/// # Errors
/// A status that is no success, a body that is no text, a start past the end.
pub(crate) fn show(response: &Response, start: usize, max_chars: Option<usize>) -> Result<String, Error> {
    let url = response.address.shown();
    let (page, unknown) = readable(response)?;
    if !(200..300).contains(&response.status) {
        let begin: String = page.text.chars().take(ERROR_CHARS).collect();
        return Err(Error::failed(
            format!("{url} answered with status {}. {begin}", response.status)
                .trim()
                .to_owned(),
        ));
    }
    let total = page.text.chars().count();
    if total == 0 {
        return Ok(format!(
            "[{url}: the page holds no text; it may be made by scripts, which are not run]"
        ));
    }
    if start >= total {
        return Err(Error::invalid_input(format!(
            "{url} has {total} characters; start {start} is past its end"
        )));
    }
    let part: String = page
        .text
        .chars()
        .skip(start)
        .take(max_chars.unwrap_or(CHARS).clamp(1, CHARS_MAX))
        .collect();
    let end = start + part.chars().count();
    let title = if page.title.is_empty() {
        String::new()
    } else {
        format!(" \"{}\"", page.title)
    };
    let mut text = format!("[{url}{title}, characters {start}-{end} of {total}]\n{part}");
    if end < total {
        text.push_str(&format!("\n[go on with start={end}]"));
    } else if response.cut {
        text.push_str("\n[the page is longer; what follows was not fetched]");
    }
    if let Some(charset) = unknown {
        text.push_str(&format!(
            "\n[the page is in {charset}, which is not known here; some characters are wrong]"
        ));
    }
    Ok(text)
}

fn readable(response: &Response) -> Result<(Readable, Option<String>), Error> {
    let kind = response
        .content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_html = kind == "text/html" || kind == "application/xhtml+xml";
    let known = kind.starts_with("text/")
        || ["json", "xml", "javascript", "yaml", "toml"]
            .iter()
            .any(|name| kind.ends_with(name))
        || is_html;
    let unlabelled = kind.is_empty() && !response.body.contains(&0);
    if !known && !unlabelled && !response.body.is_empty() {
        let (url, size) = (response.address.shown(), response.body.len());
        return Err(Error::failed(format!(
            "{url} is {kind} of at least {size} bytes, not text; look for a text or HTML version"
        )));
    }
    let (text, unknown) = decode(&response.body, &response.content_type);
    let sniffed = kind.is_empty() && text.trim_start().starts_with('<');
    let page = if is_html || sniffed {
        render(&text, &response.address)
    } else {
        Readable {
            title: String::new(),
            text,
        }
    };
    Ok((page, unknown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn shown(status: u16, content_type: &str, body: &[u8], start: usize, max: Option<usize>) -> Result<String, Error> {
        let response = Response {
            address: Address::parse("https://x.org/a").unwrap(),
            status,
            content_type: content_type.into(),
            body: body.to_vec(),
            cut: false,
        };
        show(&response, start, max)
    }

    #[test]
    fn long_pages_come_in_parts() {
        let body = "äb".repeat(50);
        let first = shown(200, "text/plain", body.as_bytes(), 0, Some(60)).unwrap();
        assert!(
            first.starts_with("[https://x.org/a, characters 0-60 of 100]\näb")
                && first.ends_with("[go on with start=60]")
        );
        let rest = shown(200, "text/plain", body.as_bytes(), 60, Some(60)).unwrap();
        assert_eq!(
            rest,
            format!("[https://x.org/a, characters 60-100 of 100]\n{}", "äb".repeat(20))
        );
        assert!(
            shown(200, "text/plain", body.as_bytes(), 100, None)
                .unwrap_err()
                .message
                .contains("past its end")
        );
    }

    #[test]
    fn kinds_are_told_apart() {
        assert!(
            shown(200, "text/html; charset=utf-8", b"<title>T</title><p>x", 0, None)
                .unwrap()
                .ends_with("\"T\", characters 0-1 of 1]\nx")
        );
        assert!(
            shown(200, "application/json", b"{\"a\":1}", 0, None)
                .unwrap()
                .ends_with("{\"a\":1}")
        );
        assert!(shown(200, "", b"<p>x", 0, None).unwrap().ends_with("\nx"));
        assert!(
            shown(200, "application/pdf", b"%PDF", 0, None)
                .unwrap_err()
                .message
                .contains("application/pdf")
        );
        assert!(
            shown(404, "text/html", b"<p>gone", 0, None)
                .unwrap_err()
                .message
                .ends_with("status 404. gone")
        );
        assert!(shown(200, "text/html", b"", 0, None).unwrap().contains("no text"));
    }
}
