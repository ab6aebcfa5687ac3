//! Character references of HTML: by number, and by the names that pages use.

/// Names of U+00A0 to U+00FF, in order.
const LATIN: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 \
    acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig \
    Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave \
    Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave \
    iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml";
/// The longest name, with room.
const NAME_BYTES: usize = 12;

/// The text with its references replaced; what is none stays.
pub(crate) fn decode(text: &str) -> String {
    let (mut decoded, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('&') {
        decoded.push_str(before);
        // No further than a name may reach: a page of nothing but `&` would be searched to its end for each.
        let end = after.bytes().take(NAME_BYTES + 1).position(|byte| byte == b';');
        let name = end.map(|end| &after[..end]);
        if let Some((name, c)) = name.and_then(|name| Some((name, character(name)?))) {
            decoded.push(c);
            rest = &after[name.len() + 1..];
        } else {
            decoded.push('&');
            rest = after;
        }
    }
    decoded.push_str(rest);
    decoded
}

fn character(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return code
            .ok()
            .and_then(char::from_u32)
            .filter(|c| !c.is_control() || *c == '\n');
    }
    let known = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "hellip" => '…',
        "mdash" => '—',
        "ndash" => '–',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "bull" => '•',
        "trade" => '™',
        "euro" => '€',
        "larr" => '←',
        "rarr" => '→',
        "uarr" => '↑',
        "darr" => '↓',
        "harr" => '↔',
        "le" => '≤',
        "ge" => '≥',
        "ne" => '≠',
        "minus" => '−',
        "asymp" => '≈',
        "infin" => '∞',
        "thinsp" | "ensp" | "emsp" => ' ',
        "alpha" => 'α',
        "beta" => 'β',
        "gamma" => 'γ',
        "delta" => 'δ',
        "lambda" => 'λ',
        "mu" => 'μ',
        "pi" => 'π',
        "sigma" => 'σ',
        "omega" => 'ω',
        _ => return latin(name),
    };
    Some(known)
}

fn latin(name: &str) -> Option<char> {
    let position = LATIN.split_whitespace().position(|known| known == name)?;
    char::from_u32(0xa0 + u32::try_from(position).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced() {
        assert_eq!(
            decode("a &amp; b &#228;&#xe4;&auml;&yuml;&nbsp;&mdash;"),
            "a & b äääÿ\u{a0}—"
        );
        assert_eq!(
            decode("AT&T &unknown; &#0; &#xd800; &"),
            "AT&T &unknown; &#0; &#xd800; &"
        );
        assert_eq!(decode("&amp;lt;"), "&lt;");
        assert_eq!(decode("&ääääääää;"), "&ääääääää;");
        assert_eq!(decode("&#000000000032;"), "&#000000000032;", "as long as no name is");
        assert_eq!(decode("&#0000000032;"), " ");
    }

    #[test]
    fn a_megabyte_of_ampersands_takes_no_time() {
        let text = "&".repeat(1024 * 1024);
        assert_eq!(decode(&text), text);
    }
}
