//! Cutting text without breaking a character.

/// The longest beginning of `text` of at most `max` bytes that ends at a character's border.
pub fn prefix(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// The longest end of `text` of at most `max` bytes that begins at a character's border.
pub fn suffix(text: &str, max: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(max))..]
}

/// `text` in pieces of at most `max` bytes, at least 4, cut at characters' borders; one empty piece for an empty text.
pub fn pieces(mut text: &str, max: usize) -> Vec<&str> {
    let mut pieces = vec![];
    loop {
        let piece = prefix(text, max.max(4));
        pieces.push(piece);
        text = &text[piece.len()..];
        if text.is_empty() {
            return pieces;
        }
    }
}

/// `text` in at most `max` bytes: whole, or its beginning and its end with a note between them that tells what is missing
/// and then `hint`. Where not even the note fits, a beginning of the note.
pub fn shorten(text: &str, max: usize, hint: &str) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    // The number in the note is at most that of the whole, so the note is at most this long.
    let room = max.saturating_sub(note(text.len(), hint).len());
    if room == 0 {
        return prefix(&note(text.len(), hint), max).to_owned();
    }
    let (head, tail) = (prefix(text, room - room / 3), suffix(text, room / 3));
    let missing = text.len() - head.len() - tail.len();
    format!("{head}{}{tail}", note(missing, hint))
}

fn note(missing: usize, hint: &str) -> String {
    format!("\n[… {missing} bytes left out{hint} …]\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_stay_whole_at_every_cut() {
        let text = "aä€😀".repeat(40);
        for max in 0..text.len() + 2 {
            assert!(prefix(&text, max).len() <= max && suffix(&text, max).len() <= max);
            let short = shorten(&text, max, "; read it again");
            assert!(short.len() <= max, "{} > {max}", short.len());
        }
        assert_eq!(prefix("aä", 2), "a");
        assert_eq!(suffix("äa", 2), "a");
        assert_eq!(shorten(&text, text.len(), ""), text);
    }

    #[test]
    fn pieces_join_to_the_whole() {
        for text in ["", "a", &"a€".repeat(1000)] {
            let pieces = pieces(text, 10);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| piece.len() <= 10));
        }
    }

    #[test]
    fn the_note_counts_what_is_missing() {
        let text = "x".repeat(1000);
        let short = shorten(&text, 100, "");
        let kept = short.matches('x').count();
        assert!(
            short.contains(&format!("[… {} bytes left out …]", 1000 - kept)),
            "{short}"
        );
        assert!(kept > 50);
    }
}
