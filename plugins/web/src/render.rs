//! From HTML to text that reads like Markdown: headings, paragraphs, lists, tables, code and links.

use std::borrow::Cow;

use crate::address::Address;
use crate::entity::decode;
use crate::html::{Token, Tokens, attribute};

/// A page as text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Readable {
    pub(crate) title: String,
    pub(crate) text: String,
}

/// What surrounds a page's own text: menus and controls.
const AROUND: [&str; 4] = ["nav", "footer", "button", "select"];
/// What may stand in a page's head.
const IN_HEAD: [&str; 8] = [
    "title", "meta", "link", "base", "script", "style", "noscript", "template",
];
/// Below this many characters a page is taken to be made of such things.
const LITTLE: usize = 200;

/// Renders a page. What surrounds its text is left out, unless hardly anything else is there.
pub(crate) fn render(page: &str, address: &Address) -> Readable {
    let without = Renderer::new(address, &AROUND).run(page);
    if without.text.chars().count() >= LITTLE {
        return without;
    }
    Renderer::new(address, &[]).run(page)
}

struct Renderer<'a> {
    /// What links are relative to: the page, or what it names as its base.
    address: Cow<'a, Address>,
    has_base: bool,
    left_out: &'a [&'static str],
    out: String,
    title: String,
    in_title: bool,
    in_head: bool,
    /// How deep in elements that are left out.
    hidden: usize,
    /// Lists around, the innermost last: the next number, or none for bullets.
    lists: Vec<Option<u32>>,
    /// An open link: where its text began and where it leads. Links don't nest.
    link: Option<(usize, String)>,
    in_pre: bool,
    /// Where the text of a list's item begins, as long as there is none.
    item: Option<usize>,
    cells: usize,
    /// White space was seen that has not been written.
    space: bool,
}

impl<'a> Renderer<'a> {
    fn new(address: &'a Address, left_out: &'a [&'static str]) -> Self {
        Self {
            address: Cow::Borrowed(address),
            has_base: false,
            left_out,
            out: String::new(),
            title: String::new(),
            in_title: false,
            in_head: false,
            hidden: 0,
            lists: vec![],
            link: None,
            in_pre: false,
            item: None,
            cells: 0,
            space: false,
        }
    }

    fn run(mut self, page: &str) -> Readable {
        for token in Tokens::new(page) {
            match token {
                Token::Text(text) => self.text(&decode(text)),
                Token::Open(name, attributes) => self.open(&name, attributes),
                Token::Close(name) => self.close(&name),
            }
        }
        if self.in_pre {
            self.close("pre");
        }
        let title = self.title.split_whitespace().collect::<Vec<_>>().join(" ");
        Readable {
            title,
            text: self.out.trim().to_owned(),
        }
    }

    fn text(&mut self, text: &str) {
        let target = match (self.in_title, self.in_pre) {
            (true, _) => &mut self.title,
            _ if self.hidden > 0 || self.in_head => return,
            (_, true) => &mut self.out,
            _ => {
                self.words(text);
                return;
            }
        };
        target.push_str(text);
    }

    /// Text with its white space made one blank.
    fn words(&mut self, text: &str) {
        for word in text.split_inclusive(char::is_whitespace) {
            let bare = word.trim_end();
            if !bare.is_empty() {
                if self.space && !self.out.is_empty() && !self.out.ends_with(['\n', ' ']) {
                    self.out.push(' ');
                }
                self.out.push_str(bare);
                self.space = false;
            }
            self.space |= bare.len() < word.len();
        }
    }

    fn open(&mut self, name: &str, attributes: &str) {
        if self.left_out.contains(&name) {
            self.hidden += 1;
        }
        // Pages leave closing tags out: what can't stand in a title or a head has ended it.
        self.in_title = false;
        self.in_head &= IN_HEAD.contains(&name);
        match name {
            "title" if self.title.is_empty() => self.in_title = true,
            "head" => self.in_head = true,
            "base" => self.base(attributes),
            _ if self.hidden > 0 => {}
            "br" if self.in_pre => self.out.push('\n'),
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.blocks(2);
                let level = usize::from(name.as_bytes()[1] - b'0');
                self.mark(&format!("{} ", "#".repeat(level)));
            }
            "p" | "blockquote" | "table" | "figure" | "section" | "article" | "header" | "main" | "dl" => {
                self.blocks(2);
            }
            "div" | "dt" | "dd" | "figcaption" | "tr" | "br" => {
                self.blocks(1);
                self.cells = 0;
            }
            "hr" => self.blocks(2),
            "ul" | "ol" => {
                self.item = None;
                self.blocks(if self.lists.is_empty() { 2 } else { 1 });
                self.lists.push((name == "ol").then_some(1));
            }
            "li" => self.item(),
            "td" | "th" => {
                self.cells += 1;
                if self.cells > 1 {
                    self.mark(" | ");
                }
            }
            "pre" => {
                self.item = None;
                self.blocks(2);
                self.out.push_str("```\n");
                self.in_pre = true;
            }
            "code" if !self.in_pre => self.mark("`"),
            "a" => {
                self.flush_space();
                let to = attribute(attributes, "href").and_then(|link| self.address.resolve(&link));
                self.link = to.map(|to| (self.out.len(), to));
            }
            "img" => {
                if let Some(words) = attribute(attributes, "alt").filter(|words| !words.trim().is_empty()) {
                    self.words(&format!("[image: {}]", words.trim()));
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        if self.left_out.contains(&name) {
            self.hidden = self.hidden.saturating_sub(1);
        }
        match name {
            "title" => self.in_title = false,
            "head" => self.in_head = false,
            _ if self.hidden > 0 => {}
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "p" | "blockquote" | "table" | "figure" | "section"
            | "article" | "dl" => self.blocks(2),
            "div" | "tr" | "dt" | "dd" => self.blocks(1),
            "li" => {
                self.item = None;
                self.blocks(1);
            }
            "ul" | "ol" => {
                self.item = None;
                self.lists.pop();
                self.blocks(if self.lists.is_empty() { 2 } else { 1 });
            }
            "pre" if self.in_pre => {
                self.in_pre = false;
                self.out.truncate(self.out.trim_end().len());
                self.out.push_str("\n```");
                self.blocks(2);
            }
            "code" if !self.in_pre => {
                self.out.push('`');
                self.space = false;
            }
            "a" => self.end_link(),
            _ => {}
        }
    }

    /// What relative links start from; the first one named counts.
    fn base(&mut self, attributes: &str) {
        if self.has_base {
            return;
        }
        let base = attribute(attributes, "href").and_then(|link| self.address.resolve(&link));
        let base = base
            .filter(|base| base.starts_with("http"))
            .and_then(|base| Address::parse(&base).ok());
        if let Some(base) = base {
            self.address = Cow::Owned(base);
            self.has_base = true;
        }
    }

    fn item(&mut self) {
        self.item = None;
        self.blocks(1);
        let depth = self.lists.len().saturating_sub(1);
        let mark = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{}. ", *number - 1)
            }
            _ => "- ".to_owned(),
        };
        self.mark(&format!("{}{mark}", "  ".repeat(depth)));
        self.item = Some(self.out.len());
    }

    fn end_link(&mut self) {
        let Some((start, to)) = self.link.take() else { return };
        // A link whose text went over the end of a block began before what is there now.
        let inside = self.out.get(start..).unwrap_or_default();
        let start = start + inside.len() - inside.trim_start().len();
        let text = inside.trim();
        if text.is_empty() || text.contains('\n') {
            return;
        }
        let link = if text == to { to } else { format!("[{text}]({to})") };
        self.out.truncate(start);
        self.out.push_str(&link);
    }

    /// Ends the line; with 2 leaves an empty one. A block that an item of a list begins with stands behind the item's mark, and
    /// within code a line is a line.
    fn blocks(&mut self, breaks: usize) {
        self.space = false;
        if self.item == Some(self.out.len()) {
            return;
        }
        if self.in_pre {
            if !self.out.ends_with('\n') {
                self.out.push('\n');
            }
            return;
        }
        let bare = self.out.trim_end_matches([' ', '\n']).len();
        if bare == 0 {
            self.out.clear();
            return;
        }
        let have = self.out[bare..].matches('\n').count();
        self.out.truncate(bare);
        self.out.push_str(&"\n".repeat(breaks.max(have.min(2))));
    }

    fn mark(&mut self, mark: &str) {
        self.flush_space();
        self.out.push_str(mark);
        self.space = false;
    }

    fn flush_space(&mut self) {
        if self.space && !self.out.is_empty() && !self.out.ends_with(['\n', ' ']) {
            self.out.push(' ');
        }
        self.space = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(page: &str) -> String {
        render(page, &Address::parse("https://x.org/a/").unwrap()).text
    }

    #[test]
    fn a_page_reads_well() {
        let page = "<html><head><title>A &amp;\n B</title><style>p{}</style></head><body><nav><a href=/>Home</a></nav>\
            <h1>Head</h1><p>One <b>bold</b>\n word, <a href='b?c=1'>a link</a>.</p><ul><li>x<li>y<ol><li>z</li></ol></ul>\
            <pre><code>let a = 1;\n  b</code></pre><p>Use <code>f()</code>.</p>\
            <table><tr><th>k<th>v</tr><tr><td>1</td><td>2</td></tr></table><script>no()</script></body></html>";
        let page = page.replace("</body>", &format!("<p>{}</p></body>", "long ".repeat(50)));
        let readable = render(&page, &Address::parse("https://x.org/a/").unwrap());
        assert_eq!(readable.title, "A & B");
        let start = "# Head\n\nOne bold word, [a link](https://x.org/a/b?c=1).\n\n- x\n- y\n  1. z\n\n```\nlet a = 1;\n  b\n```\n\n\
                     Use `f()`.\n\nk | v\n1 | 2\n\nlong long";
        assert!(readable.text.starts_with(start), "{}", readable.text);
        assert!(!readable.text.contains("Home") && !readable.text.contains("no()"));
    }

    #[test]
    fn menus_stay_where_there_is_nothing_else() {
        assert_eq!(text("<nav><a href='/p'>Page</a></nav>"), "[Page](https://x.org/p)");
    }

    #[test]
    fn lines_of_code_stay_lines() {
        assert_eq!(
            text("<pre>a<br>b<br><br>c<div>d</div><div>  e</div>f</pre>"),
            "```\na\nb\n\nc\nd\n  e\nf\n```"
        );
        assert_eq!(text("<pre><div>a</div><div>b</div></pre>"), "```\na\nb\n```");
    }

    #[test]
    fn blocks_in_items_stand_behind_the_mark() {
        assert_eq!(
            text("<ul><li><p>x</p></li><li><div><p>y</p><p>z</p></div></li></ul>w"),
            "- x\n\n- y\n\nz\n\nw"
        );
        assert_eq!(
            text("<ol><li><ul><li><p>x</ul><li></li><li><h3>y</h3></ol>"),
            "1.\n  - x\n2.\n3. ### y"
        );
        assert_eq!(text("<ul><li><pre>x</pre></ul>"), "-\n\n```\nx\n```");
    }

    #[test]
    fn links_start_from_the_base_that_a_page_names() {
        let link = "<a href='c'>d</a>";
        assert_eq!(
            text(&format!("<base target=_top><base href='/b/'>{link}")),
            "[d](https://x.org/b/c)"
        );
        assert_eq!(
            text(&format!(
                "<head><base href=https://y.org/z/?q><base href=/no></head>{link}"
            )),
            "[d](https://y.org/z/c)"
        );
        assert_eq!(text(&format!("<base href='mailto:a'>{link}")), "[d](https://x.org/a/c)");
    }

    #[test]
    fn odd_pages_do_no_harm() {
        assert_eq!(text(""), "");
        assert_eq!(text("a</a></ul></li></pre></nav>b"), "a\n\nb");
        assert_eq!(
            text("<a href='#x'>here</a> <a href=/y><p>block</p></a>"),
            "here\n\n[block](https://x.org/y)"
        );
        assert_eq!(text("<pre>x"), "```\nx\n```");
        assert_eq!(text("1 < 2 &lt;b&gt;"), "1 < 2 <b>");
        assert_eq!(text("<head><meta x><title>t<p>no body tag"), "no body tag");
        assert_eq!(text("<p>a<br>b<br><br>c"), "a\nb\nc");
    }
}
