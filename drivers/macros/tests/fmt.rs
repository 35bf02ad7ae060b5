//! `fmt!` against an adapter that puts marks around what it prints, so that a missing wrapper shows.

extern crate self as kernel;

mod fmt {
    use core::fmt::{Binary, Debug, Display, Formatter, LowerHex, Result};

    pub(crate) struct Adapter<T>(pub(crate) T);

    macro_rules! marked {
        ($($format:ident),*) => {
            $(impl<T: $format> $format for Adapter<T> {
                fn fmt(&self, f: &mut Formatter<'_>) -> Result {
                    f.write_str("<")?;
                    $format::fmt(&self.0, f)?;
                    f.write_str(">")
                }
            })*
        };
    }

    marked!(Binary, Debug, Display, LowerHex);
}

/// As the printing macros do it: every token is handed on.
macro_rules! print {
    ($($argument:tt)*) => {
        macros::fmt!($($argument)*).to_string()
    };
}

#[test]
fn positional_arguments_are_wrapped() {
    let text = print!("{} {1} {0} {:?}\n", 1 + 1, "b");

    assert_eq!(text, "<2> <b> <2> <\"b\">\n");
}

#[test]
fn named_and_inline_arguments_are_wrapped() {
    let status = 0x1f;
    let name = "disk";

    let text = print!("{name} {status:#x} {count:02} {name:?}", count = status % 10);

    assert_eq!(text, "<disk> <0x1f> <01> <\"disk\">");
}

#[test]
fn doubled_braces_are_text() {
    let x = 5;

    let text = print!("{{x}} {{{x}}} {{}}");

    assert_eq!(text, "{x} {<5>} {}");
}

#[test]
fn width_and_precision_come_from_the_scope() {
    let (width, digits, value) = (6, 2, 1.5);

    let text = print!("{:width$.digits$} {value:>width$} {:04b}", value, 3);

    assert_eq!(text, "<  1.50> <   1.5> <0011>");
}

#[test]
fn arguments_may_be_any_expression() {
    let list = [1, 2, 3];

    let text =
        print!("{} {:?} {}", list.iter().map(|n| n * 2).sum::<i32>(), (1, "x"), if list[0] > 0 { "y" } else { "n" },);

    assert_eq!(text, "<12> <(1, \"x\")> <y>");
}

#[test]
fn argument_is_borrowed_only() {
    let owned = String::from("kept");

    let text = print!("{owned} {}", owned);

    assert_eq!((text, owned), ("<kept> <kept>".to_owned(), "kept".to_owned()));
}

#[test]
fn string_without_placeholders_needs_no_argument() {
    let text = print!("plain 100%\n");

    assert_eq!(text, "plain 100%\n");
}
