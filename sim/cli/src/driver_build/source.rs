//! A driver's text, as far as words go: which platform devices its tables name.

/// A word, a mark or a literal of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A name, a keyword or a number.
    Word,
    /// A string or a character, with its quotes.
    Literal,
    /// One character.
    Mark,
}

/// A platform device that a driver's tables name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PlatformName {
    /// By ACPI's hardware id.
    Acpi(String),
    /// By what it is compatible with in a device tree.
    Compatible(String),
}

/// The platform devices that the tables in a program name, in their order.
pub(crate) fn platform_names(text: &str) -> Vec<PlatformName> {
    let tokens = tokens(text);
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let name: fn(String) -> PlatformName = match token.text {
            "acpi_device_table" => PlatformName::Acpi,
            "of_device_table" => PlatformName::Compatible,
            _ => continue,
        };
        if tokens.get(at + 1).is_some_and(|next| next.text == "!") {
            let table = &tokens[at + 2..];
            let ids = table[..end_of_item(table)].iter().filter(|token| token.text.starts_with("c\""));
            names.extend(ids.map(|id| name(id.text[2..].trim_end_matches('"').to_owned())));
        }
    }
    names
}

/// The number of tokens up to the end of what begins here: a closing bracket at the level of the first one, or a semicolon.
fn end_of_item(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                // An attribute or a parameter list is not yet the item.
                let goes_on = tokens.get(at + 1).is_some_and(|next| token.text != "}" && next.text != ";");
                if depth == 0 && !goes_on {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// The tokens of a program, without its comments.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (kind, length) = match first {
            _ if first.is_whitespace() => (None, first.len_utf8()),
            '/' if rest.starts_with("//") => (None, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (None, comment(rest)),
            '"' => (Some(Kind::Literal), quoted(rest, '"')),
            '\'' => character(rest),
            _ if is_word(first) => word_or_literal(rest),
            _ => (Some(Kind::Mark), first.len_utf8()),
        };
        let (token, after) = rest.split_at(length);
        if let Some(kind) = kind {
            tokens.push(Token { kind, text: token });
        }
        rest = after;
    }
    tokens
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word(text: &str) -> usize {
    text.find(|c| !is_word(c)).unwrap_or(text.len())
}

/// The length of a comment, which may have others in it.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of what stands in quotes, with them.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character, or the quote and name of a lifetime or a label.
fn character(text: &str) -> (Option<Kind>, usize) {
    let mut next = text[1..].chars();
    match (next.next(), next.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => (Some(Kind::Literal), quoted(text, '\'')),
        _ => (Some(Kind::Mark), 1 + word(&text[1..])),
    }
}

/// A word, or a literal that begins with one (`c"…"`, `br#"…"#`, `b'…'`).
fn word_or_literal(text: &str) -> (Option<Kind>, usize) {
    let length = word(text);
    let (prefix, rest) = text.split_at(length);
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    if matches!(prefix, "r" | "br" | "cr") && rest[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let inside = &rest[hashes + 1..];
        let inner = inside.find(&end).map_or(inside.len(), |at| at + end.len());
        return (Some(Kind::Literal), length + hashes + 1 + inner);
    }
    match rest.chars().next() {
        Some('"') if matches!(prefix, "b" | "c") => (Some(Kind::Literal), length + quoted(rest, '"')),
        Some('\'') if prefix == "b" => (Some(Kind::Literal), length + quoted(rest, '\'')),
        _ => (Some(Kind::Word), length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_name_their_devices() {
        let text = "kernel::acpi_device_table!(A, (), [(acpi::DeviceId::new(c\"LNUXBEEF\"), ())]);\nlet other = c\"no id\";\n\
                    kernel::of_device_table!(O, u8, [(X::new(c\"acme,fan\"), 4), (X::new(c\"acme,pump\"), 5)]);";
        let compatible = |text: &str| PlatformName::Compatible(text.into());
        assert_eq!(
            platform_names(text),
            [PlatformName::Acpi("LNUXBEEF".into()), compatible("acme,fan"), compatible("acme,pump")]
        );
    }

    #[test]
    fn comments_and_literals_name_nothing() {
        for text in [
            "// acpi_device_table!(c\"A\");",
            "/* of_device_table!( /* */ c\"b\"); */",
            "let a = \"acpi_device_table!(c\\\"A\\\")\";",
        ] {
            assert_eq!(platform_names(text), [], "{text}");
        }
    }

    #[test]
    fn text_that_breaks_off_is_read_to_its_end() {
        for text in ["/* a", "\"a\\", "r#\"a\"", "'", "'\\", "c\"é", "acpi_device_table!", "#[cfg(test)]", "é::std::x"]
        {
            assert_eq!(platform_names(text), [], "{text}");
        }
    }
}
