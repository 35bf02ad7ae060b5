//! A driver's text, as far as words go: which words it uses that no kernel has, and which platform devices its tables name.

/// A word, a mark or a literal of a program, and the line on which it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    line: usize,
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

/// Macros of the standard library's prelude that print or allocate. The kernel crate has none of these names.
const STD_MACROS: [&str; 6] = ["print", "println", "eprint", "eprintln", "vec", "format"];

/// A use of the standard library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StdUse {
    pub(crate) line: usize,
    /// As it stands there: `std::` or `println!`.
    pub(crate) what: String,
}

/// Where a program uses the standard library by name. What is built for tests only does not count.
pub(crate) fn std_uses(text: &str) -> Vec<StdUse> {
    let tokens = without_tests(&tokens(text));
    let text_at = |at: usize| tokens.get(at).map_or("", |token| token.text);
    let mut uses = Vec::new();
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.kind == Kind::Word) {
        let before = |back: usize| at.checked_sub(back).map_or("", text_at);
        // The name of something in another module, unless the path begins with the colons.
        let is_inner = before(1) == ":" && tokens.get(at.wrapping_sub(3)).is_some_and(|token| token.kind == Kind::Word);
        let what = match token.text {
            "std" if !is_inner && text_at(at + 1) == ":" && text_at(at + 2) == ":" => "std::".to_owned(),
            "std" if before(1) == "crate" && before(2) == "extern" => "extern crate std".to_owned(),
            name if STD_MACROS.contains(&name) && text_at(at + 1) == "!" && before(1) != ":" => format!("{name}!"),
            _ => continue,
        };
        uses.push(StdUse { line: token.line, what });
    }
    uses
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

/// Leaves out what `#[cfg(test)]` stands before.
fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    const TESTS: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let rest = &tokens[at..];
        if rest.len() >= TESTS.len() && rest.iter().zip(TESTS).all(|(token, text)| token.text == text) {
            at += TESTS.len();
            at += end_of_item(&tokens[at..]);
        } else {
            kept.push(*token);
            at += 1;
        }
    }
    kept
}

/// The tokens of a program, without its comments.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
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
            tokens.push(Token { kind, text: token, line });
        }
        line += token.matches('\n').count();
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

    fn uses(text: &str) -> Vec<(usize, String)> {
        std_uses(text).into_iter().map(|found| (found.line, found.what)).collect()
    }

    #[test]
    fn uses_of_the_standard_library_are_found_with_their_lines() {
        let text = "use core::fmt;\nuse std::vec::Vec;\n\nfn f() { let x = ::std::mem::size_of::<u8>();\nprintln!(\"{x}\") }\nextern crate std;\n";
        let found = [(2, "std::"), (4, "std::"), (5, "println!"), (6, "extern crate std")];
        assert_eq!(uses(text), found.map(|(line, what)| (line, what.to_owned())));
    }

    #[test]
    fn comments_literals_and_other_names_are_no_uses() {
        for text in [
            "// std::a\n/* std::b /* std::c */ std::d */",
            "let a = \"std::a \\\" std::b\"; let b = c\"std::c\"; let c = r#\"std::d \" std::e\"#;",
            "let a = '\"'; let b = b'\\''; // std::a\n",
            "fn f<'std>(x: &'std u8) { 'std: loop {} }",
            "use kernel::std::a; let std = 1; nostd::a(); std: u8",
            "#[cfg(test)]\n#[allow(x)]\nmod tests { use std::vec; fn f() {} }",
            "pr_info!(\"println!\"); my::vec![1];",
        ] {
            assert_eq!(uses(text), [], "{text}");
        }
    }

    #[test]
    fn what_follows_the_tests_counts_again() {
        assert_eq!(uses("#[cfg(test)]\nmod tests;\nuse std::a;\n"), [(3, "std::".to_owned())]);
        assert_eq!(uses("#[cfg(test)]\nmod tests {\n}\nuse std::a;\n"), [(4, "std::".to_owned())]);
    }

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
    fn text_that_breaks_off_is_read_to_its_end() {
        for text in ["/* a", "\"a\\", "r#\"a\"", "'", "'\\", "c\"é", "acpi_device_table!", "#[cfg(test)]", "é::std::x"]
        {
            assert_eq!((uses(text), platform_names(text)), (Vec::new(), Vec::new()), "{text}");
        }
    }
}
