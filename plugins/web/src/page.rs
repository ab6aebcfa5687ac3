//! From a response to what the model reads: a head line, a part of the text, and where to go on.

use hermes_sdk::Error;

use crate::charset::decode;
use crate::fetch::{BODY_BYTES, Response};
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
    let (total, cut) = (page.text.chars().count(), cut(response));
    if total == 0 {
        return Ok(format!(
            "[{url}: the page holds no text; it may be made by scripts, which are not run]{cut}"
        ));
    }
    if start >= total {
        return Err(Error::invalid_input(format!(
            "{url} has {total} characters; start {start} is past its end{cut}"
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
    }
    if let Some(charset) = unknown {
        text.push_str(&format!(
            "\n[the page is in {charset}, which is not known here; some characters are wrong]"
        ));
    }
    text.push_str(&cut);
    Ok(text)
}

/// What every part of a page says at its end that was not read to its own: the characters counted are those of what was read.
fn cut(response: &Response) -> String {
    if !response.cut {
        return String::new();
    }
    let bytes = response.body.len();
    // More than that is not read, however much the host lets pass.
    let key = if bytes < BODY_BYTES {
        "; the operator's key for it is limits.http.body"
    } else {
        "; fetch_page never reads more of one"
    };
    format!("\n[the page was cut after {bytes} bytes, the rest of it was not read{key}]")
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
    let (text, unknown) = decode(&response.body, &response.content_type, response.cut);
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

    fn response(status: u16, content_type: &str, body: &[u8]) -> Response {
        Response {
            address: Address::parse("https://x.org/a").unwrap(),
            status,
            content_type: content_type.into(),
            body: body.to_vec(),
            cut: false,
        }
    }

    fn shown(status: u16, content_type: &str, body: &[u8], start: usize, max: Option<usize>) -> Result<String, Error> {
        show(&response(status, content_type, body), start, max)
    }

    fn cut_off(content_type: &str, body: &[u8], start: usize, max: Option<usize>) -> Result<String, Error> {
        let mut response = response(200, content_type, body);
        response.cut = true;
        show(&response, start, max)
    }

    /// What a page says that the host cut.
    fn said(bytes: usize) -> String {
        format!(
            "\n[the page was cut after {bytes} bytes, the rest of it was not read; the operator's key for it is limits.http.body]"
        )
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
    fn a_cut_page_says_so_in_each_of_its_parts() {
        let part = |start| cut_off("text/plain", "abcä".as_bytes().split_last().unwrap().1, start, Some(2));
        let first = format!(
            "[https://x.org/a, characters 0-2 of 3]\nab\n[go on with start=2]{}",
            said(4)
        );
        assert_eq!(part(0).unwrap(), first);
        let last = format!("[https://x.org/a, characters 2-3 of 3]\nc{}", said(4));
        assert_eq!(part(2).unwrap(), last);
        let past = part(3).unwrap_err().message;
        assert!(past.contains("past its end") && past.ends_with(&said(4)), "{past}");
        let scripts = cut_off("text/html", b"<script>f(", 0, None).unwrap();
        assert!(scripts.contains("no text") && scripts.ends_with(&said(10)), "{scripts}");
        let full = cut_off("text/plain", &vec![b'x'; BODY_BYTES], 0, None).unwrap();
        assert!(
            full.ends_with(
                "[the page was cut after 1048576 bytes, the rest of it was not read; fetch_page never reads more of one]"
            ),
            "no key would help"
        );
    }

    #[test]
    fn a_page_may_be_cut_anywhere() {
        let page = "<!doctype html><title>ä</title><!-- b --><p class='c>d'>ö &auml; <a href=\"/e\">f</a><ul><li>g\
                    <script>if (h < i) '</p>'</script><table><tr><td>j<td>k</table><pre>ü";
        for end in 1..page.len() {
            let text = cut_off("text/html", &page.as_bytes()[..end], 0, None).unwrap();
            assert!(text.ends_with(&said(end)) && !text.contains('\u{fffd}'), "{text}");
        }
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
