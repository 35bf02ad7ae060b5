//! Finds what can be removed from a driver's source, and how it is removed: each removal is a condition in the text, so that one
//! program holds them all and one number selects which of them is made.

use std::collections::BTreeSet;
use std::ops::Range;

use proc_macro2::Span;
use serde::{Deserialize, Serialize};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, Expr, Stmt};

use super::calls::{Purpose, purpose};
use super::edits::Edits;

/// What a removal takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A barrier.
    Barrier,
    /// A check that refuses, gives up or goes elsewhere.
    Check,
    /// A limit to a number: `.min(…)`.
    Bound,
    /// What heeds the error of a call: the `?` behind it.
    Error,
    /// Something that is given back, switched off or let go of.
    Release,
    /// A register write of an interrupt handler.
    Acknowledge,
    /// Any other register write, doorbells among them.
    Write,
    /// A register read whose value nobody wants: it flushes writes.
    Flush,
    /// A wake-up of whoever waits.
    WakeUp,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Barrier => "barrier",
            Self::Check => "check",
            Self::Bound => "bound",
            Self::Error => "error",
            Self::Release => "release",
            Self::Acknowledge => "acknowledge",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::WakeUp => "wake-up",
        }
    }
}

/// Something that can be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    /// Selects it; the first one is 1.
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    /// Counted from 1.
    pub(crate) line: usize,
    /// What is removed, on one line.
    pub(crate) what: String,
    /// The function that it is in.
    pub(super) function: Range<usize>,
}

/// What can be removed from one file.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) removals: Vec<Removal>,
    pub(super) edits: Edits,
}

/// The module that is added to the driver's root. 0 selects no removal; `met` is set when the selected one made a difference.
pub(super) const SWITCH: &str = "
/// Which removal is made, and whether the program came by it.
#[doc(hidden)]
#[allow(missing_docs, dead_code, unreachable_pub, reason = \"added by bringup mutate\")]
pub mod bringup_mutate {
    use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    pub static SELECTED: AtomicU32 = AtomicU32::new(0);
    pub static MET: AtomicBool = AtomicBool::new(false);

    #[inline]
    pub fn kept(number: u32) -> bool {
        if SELECTED.load(Ordering::Relaxed) != number {
            return true;
        }
        MET.store(true, Ordering::Relaxed);
        false
    }

    #[inline]
    pub fn heeded<T, E>(number: u32, result: Result<T, E>) -> Result<Option<T>, E> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if kept(number) => Err(error),
            Err(_) => Ok(None),
        }
    }

    pub trait Most {
        const MOST: Self;
    }

    macro_rules! most {
        ($($ty:ident)*) => { $(impl Most for $ty { const MOST: Self = $ty::MAX; })* };
    }

    most!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

    #[inline]
    pub fn bound<T: Most>(number: u32, bound: T) -> T {
        if kept(number) {
            bound
        } else {
            T::MOST
        }
    }
}
";

/// The names of the functions that interrupt handlers call, with the handlers' own.
#[derive(Debug, Default)]
pub(super) struct Handlers(BTreeSet<String>);

impl Handlers {
    /// Looks at all files of a driver.
    pub(super) fn of(files: &[syn::File]) -> Self {
        let mut calls = Calls::default();
        files.iter().for_each(|file| calls.visit_file(file));
        let mut reached: BTreeSet<String> = BTreeSet::new();
        let mut next: Vec<String> = calls.handlers.iter().flat_map(|(_, called)| called).cloned().collect();
        while let Some(name) = next.pop() {
            if calls.functions.iter().any(|(known, _)| *known == name) && reached.insert(name.clone()) {
                let called = calls.functions.iter().filter(|(known, _)| *known == name);
                next.extend(called.flat_map(|(_, called)| called).cloned());
            }
        }
        Self(reached)
    }
}

/// Which functions call which, by their names alone.
#[derive(Debug, Default)]
struct Calls {
    functions: Vec<(String, BTreeSet<String>)>,
    handlers: Vec<(String, BTreeSet<String>)>,
    /// What the function that is looked at calls.
    called: BTreeSet<String>,
    in_handler: bool,
}

impl Calls {
    fn function(&mut self, name: String, block: &Block) {
        let outer = std::mem::take(&mut self.called);
        self.visit_block(block);
        let called = std::mem::replace(&mut self.called, outer);
        if self.in_handler { &mut self.handlers } else { &mut self.functions }.push((name, called));
    }
}

impl<'ast> Visit<'ast> for Calls {
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.in_handler = is_handler(item);
        visit::visit_item_impl(self, item);
        self.in_handler = false;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(item.sig.ident.to_string(), &item.block);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(item.sig.ident.to_string(), &item.block);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.called.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        self.called.extend(path.path.segments.last().map(|segment| segment.ident.to_string()));
    }
}

/// Whether this implements one of `kernel::irq`'s traits.
fn is_handler(item: &syn::ItemImpl) -> bool {
    let name = item.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
    name.is_some_and(|name| name.ident == "Handler" || name.ident == "ThreadedHandler")
}

/// Finds what can be removed from a file. Numbers go on after `last`.
pub(super) fn find(text: &str, file: &syn::File, handlers: &Handlers, last: u32) -> Found {
    let mut finder =
        Finder { text, handlers, last, function: 0..text.len(), in_handler: false, found: Found::default() };
    finder.visit_file(file);
    finder.found
}

struct Finder<'a> {
    text: &'a str,
    handlers: &'a Handlers,
    last: u32,
    function: Range<usize>,
    in_handler: bool,
    found: Found,
}

impl Finder<'_> {
    fn source(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    /// Adds a removal; `pieces` are made from its number.
    fn add(&mut self, kind: Kind, shown: Span, range: Range<usize>, pieces: impl FnOnce(u32) -> (String, String)) {
        self.last += 1;
        let number = self.last;
        let what = one_line(self.source(shown.byte_range()));
        let line = shown.start().line;
        self.found.removals.push(Removal { number, kind, line, what, function: self.function.clone() });
        let (before, behind) = pieces(number);
        self.found.edits.around(number, range, before, behind);
    }

    /// Makes a condition depend on the removal: the check never does what it does `when` it holds.
    fn check(&mut self, condition: &Expr, when: bool) {
        if has_let(condition) {
            return;
        }
        let range = condition.span().byte_range();
        self.add(Kind::Check, condition.span(), range, |number| {
            let kept = kept(number);
            if when { ("(".into(), format!(") && {kept}")) } else { ("(".into(), format!(") || !{kept}")) }
        });
    }

    /// Makes a statement depend on the removal.
    fn statement(&mut self, kind: Kind, statement: &Stmt) {
        let span = statement.span();
        self.add(kind, span, span.byte_range(), |number| (format!("if {} {{ ", kept(number)), " }".into()));
    }

    fn visit_statement(&mut self, statement: &Stmt, is_unit: bool) {
        match statement {
            Stmt::Expr(expression, semicolon) if semicolon.is_some() || is_unit => {
                if let Some(kind) = self.kind_of(expression) {
                    self.statement(kind, statement);
                } else if let (Expr::Try(call), Some(_)) = (expression, semicolon) {
                    self.error(call, statement);
                }
            }
            Stmt::Local(local) if matches!(local.pat, syn::Pat::Wild(_)) => {
                let call = local.init.as_ref().and_then(|init| self.kind_of(&init.expr));
                if let Some(kind) = call {
                    self.statement(kind, statement);
                }
            }
            _ => {}
        }
    }

    /// The `?` behind a call whose value nobody wants: the error is not heeded.
    fn error(&mut self, call: &syn::ExprTry, statement: &Stmt) {
        if is_call(&call.expr) {
            self.add(Kind::Error, statement.span(), call.expr.span().byte_range(), |number| {
                (format!("crate::bringup_mutate::heeded({number}, "), ")".into())
            });
        }
    }

    /// What a statement is there for that consists of this expression.
    fn kind_of(&self, expression: &Expr) -> Option<Kind> {
        match expression {
            Expr::Try(call) => self.kind_of(&call.expr),
            Expr::Paren(inner) => self.kind_of(&inner.expr),
            Expr::Unsafe(block) => match &*block.block.stmts {
                [Stmt::Expr(inner, _)] => self.kind_of(inner),
                _ => None,
            },
            // What is let go of by putting nothing into its place.
            Expr::Assign(assign) => {
                let nothing = matches!(&*assign.right, Expr::Path(path) if path.path.is_ident("None"));
                nothing.then_some(Kind::Release)
            }
            Expr::MethodCall(call) => self.kind_of_call(&call.method.to_string()),
            Expr::Call(call) => match &*call.func {
                Expr::Path(path) => {
                    path.path.segments.last().and_then(|segment| self.kind_of_call(&segment.ident.to_string()))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn kind_of_call(&self, name: &str) -> Option<Kind> {
        Some(match purpose(name)? {
            Purpose::Barrier => Kind::Barrier,
            Purpose::RegisterRead => Kind::Flush,
            Purpose::RegisterWrite if self.in_handler => Kind::Acknowledge,
            Purpose::RegisterWrite => Kind::Write,
            Purpose::Release => Kind::Release,
            Purpose::WakeUp => Kind::WakeUp,
        })
    }

    /// Statements of a block; `is_unit`: its value is `()`.
    fn block(&mut self, block: &Block, is_unit: bool) {
        for (index, statement) in block.stmts.iter().enumerate() {
            self.visit_statement(statement, is_unit && index + 1 == block.stmts.len());
            self.visit_stmt(statement);
        }
    }

    fn function(&mut self, attributes: &[syn::Attribute], signature: &syn::Signature, block: &Block, in_handler: bool) {
        // What a constant function does is done by the compiler, which knows no switch.
        if signature.constness.is_some() || is_for_tests(attributes) {
            return;
        }
        let outer = (std::mem::replace(&mut self.function, block.span().byte_range()), self.in_handler);
        self.in_handler = in_handler || self.handlers.0.contains(&signature.ident.to_string());
        self.block(block, matches!(signature.output, syn::ReturnType::Default));
        (self.function, self.in_handler) = outer;
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !matches!(item, syn::Item::Const(_) | syn::Item::Static(_)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}

    fn visit_type(&mut self, _: &'ast syn::Type) {}

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.attrs, &item.sig, &item.block, false);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if is_for_tests(&item.attrs) {
            return;
        }
        let handles = is_handler(item);
        for item in &item.items {
            if let syn::ImplItem::Fn(function) = item {
                self.function(&function.attrs, &function.sig, &function.block, handles);
            }
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.attrs, &item.sig, block, false);
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        self.block(block, false);
    }

    fn visit_expr_if(&mut self, expression: &'ast syn::ExprIf) {
        let otherwise = expression.else_branch.as_ref().map(|(_, expression)| &**expression);
        if refuses(&expression.then_branch) {
            self.check(&expression.cond, true);
        } else if let Some(Expr::Block(otherwise)) = otherwise
            && refuses(&otherwise.block)
        {
            self.check(&expression.cond, false);
        }
        self.visit_expr(&expression.cond);
        // Without another branch its value is ().
        self.block(&expression.then_branch, otherwise.is_none());
        if let Some(otherwise) = otherwise {
            self.visit_expr(otherwise);
        }
    }

    fn visit_expr_while(&mut self, expression: &'ast syn::ExprWhile) {
        self.visit_expr(&expression.cond);
        self.block(&expression.body, true);
    }

    fn visit_expr_for_loop(&mut self, expression: &'ast syn::ExprForLoop) {
        self.visit_expr(&expression.expr);
        self.block(&expression.body, true);
    }

    fn visit_expr_loop(&mut self, expression: &'ast syn::ExprLoop) {
        self.block(&expression.body, true);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let Some((_, guard)) = &arm.guard {
            if is_refusal(&arm.body) {
                self.check(guard, true);
            }
            self.visit_expr(guard);
        }
        self.visit_expr(&arm.body);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let arguments: Vec<&Expr> = call.args.iter().collect();
        match (&*call.method.to_string(), &*arguments) {
            // The limit becomes the type's own.
            ("min", [bound]) => {
                self.add(Kind::Bound, call.span(), bound.span().byte_range(), |number| {
                    (format!("crate::bringup_mutate::bound({number}, "), ")".into())
                });
            }
            ("filter", [Expr::Closure(closure)]) if !matches!(*closure.body, Expr::Block(_)) => {
                self.check(&closure.body, false);
            }
            _ => {}
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// The condition that a removal is not made.
fn kept(number: u32) -> String {
    format!("crate::bringup_mutate::kept({number})")
}

/// Whether a condition binds names, which it cannot do within another one.
fn has_let(condition: &Expr) -> bool {
    match condition {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

/// Whether a block ends by leaving, or its value is an error.
fn refuses(block: &Block) -> bool {
    match block.stmts.last() {
        Some(Stmt::Expr(expression, _)) => is_refusal(expression),
        _ => false,
    }
}

/// Whether an expression leaves, or its value is a refusal.
fn is_refusal(expression: &Expr) -> bool {
    match expression {
        Expr::Return(_) | Expr::Continue(_) | Expr::Break(_) => true,
        Expr::Block(block) => refuses(&block.block),
        Expr::Call(call) => {
            matches!(&*call.func, Expr::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Err"))
        }
        Expr::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "None"),
        _ => false,
    }
}

fn is_call(expression: &Expr) -> bool {
    match expression {
        Expr::Call(_) | Expr::MethodCall(_) => true,
        Expr::Unsafe(block) => matches!(&*block.block.stmts, [Stmt::Expr(inner, None)] if is_call(inner)),
        _ => false,
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && {
            let condition = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
            condition
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == "test" || word == "CONFIG_KUNIT")
        }
    })
}

/// A text on one line, and not too long.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 70;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Found {
        let file = syn::parse_file(text).unwrap();
        find(text, &file, &Handlers::of(std::slice::from_ref(&file)), 0)
    }

    /// Kinds and texts of what can be removed from the body of a function.
    fn removals(body: &str) -> Vec<(Kind, String)> {
        let found = found(&format!("fn f() -> Result {{ {body} }}"));
        found.removals.into_iter().map(|removal| (removal.kind, removal.what)).collect()
    }

    fn one(kind: Kind, what: &str) -> Vec<(Kind, String)> {
        vec![(kind, what.into())]
    }

    /// The body of a function with all removals in it, `kept` for the path of the switch.
    fn edited(body: &str) -> String {
        let text = format!("fn f() {{ {body} }}");
        let edited = found(&text).edits.apply(&text, |_| true).text;
        let body = edited.strip_prefix("fn f() { ").unwrap().strip_suffix(" }").unwrap();
        body.replace("crate::bringup_mutate::", "")
    }

    #[test]
    fn barriers_checks_releases_writes_reads_and_wake_ups_can_be_removed() {
        assert_eq!(removals("dma_wmb(); Ok(())"), one(Kind::Barrier, "dma_wmb();"));
        assert_eq!(removals("if len > most { return Err(EINVAL); } Ok(())"), one(Kind::Check, "len > most"));
        assert_eq!(removals("if ok { Ok(()) } else { Err(EIO) }"), one(Kind::Check, "ok"));
        assert_eq!(removals("match x { A if bad => return Err(EIO), _ => {} } Ok(())"), one(Kind::Check, "bad"));
        assert_eq!(removals("let n = len.min(SIZE); Ok(())"), one(Kind::Bound, "len.min(SIZE)"));
        assert_eq!(removals("pdev.enable()?; Ok(())"), one(Kind::Error, "pdev.enable()?;"));
        assert_eq!(removals("drop(guard); Ok(())"), one(Kind::Release, "drop(guard);"));
        assert_eq!(removals("*engine = None; Ok(())"), one(Kind::Release, "*engine = None;"));
        assert_eq!(removals("bar.write_reg(A); Ok(())"), one(Kind::Write, "bar.write_reg(A);"));
        assert_eq!(removals("let _ = bar.read(A); Ok(())"), one(Kind::Flush, "let _ = bar.read(A);"));
        assert_eq!(removals("done.notify_all(); Ok(())"), one(Kind::WakeUp, "done.notify_all();"));
    }

    #[test]
    fn what_binds_or_computes_stays() {
        for body in [
            "if let Some(x) = y { return Err(EIO); } Ok(())",
            "let x = bar.read(A); Ok(())",
            "if more { count += 1; } Ok(())",
            "f()",
            "let x = drop; Ok(())",
        ] {
            assert_eq!(removals(body), [], "{body}");
        }
    }

    #[test]
    fn constant_functions_constants_and_tests_are_left_alone() {
        for text in [
            "const fn f(x: u8) -> u8 { if x > 1 { return 0; } x.min(7) }",
            "const X: u8 = { 1u8.min(7) };",
            "#[cfg(test)] mod tests { fn f() { mb(); } }",
            "#[cfg(CONFIG_KUNIT = \"y\")] mod tests { fn f() { mb(); } }",
        ] {
            assert_eq!(found(text).removals, [], "{text}");
        }
        assert_eq!(found("#[cfg(not_a_test)] fn f() { mb(); }").removals.len(), 1);
    }

    #[test]
    fn write_of_a_handler_or_of_what_it_calls_is_an_acknowledgement() {
        let text = "impl irq::Handler for H { fn handle(&self) -> IrqReturn { self.0.service(); X } }
                    impl Edu { fn service(&self) { self.bar.write_reg(ACK); } fn start(&self) { self.bar.write_reg(GO); } }";
        let kinds: Vec<Kind> = found(text).removals.iter().map(|removal| removal.kind).collect();
        assert_eq!(kinds, [Kind::Acknowledge, Kind::Write]);
    }

    #[test]
    fn each_removal_is_a_condition_on_its_number() {
        assert_eq!(edited("mb();"), "if kept(1) { mb(); }");
        assert_eq!(edited("if a || b { return; }"), "if (a || b) && kept(1) { return; }");
        assert_eq!(edited("if a { g(); } else { return; }"), "if (a) || !kept(1) { g(); } else { return; }");
        assert_eq!(edited("x.set(len.min(8));"), "x.set(len.min(bound(1, 8)));");
        assert_eq!(edited("g(1)?;"), "heeded(1, g(1))?;");
        assert_eq!(edited("loop { ring.kick() }"), "loop { if kept(1) { ring.kick() } }");
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "fn f() {\n    g(\n        1,\n    )?;\n    if a\n        && b\n    {\n        return;\n    }\n    mb();\n}\n";
        let found = found(text);
        let edited = found.edits.apply(text, |_| true).text;
        assert_eq!(edited.lines().count(), text.lines().count());
        assert_eq!(found.removals.iter().map(|removal| removal.line).collect::<Vec<_>>(), [2, 5, 10]);
        assert!(edited.lines().nth(9).unwrap().contains("mb()"));
    }

    #[test]
    fn what_is_nested_is_removed_by_itself() {
        let text = "if a { if b { return; } x.free(); return; }";
        assert_eq!(
            edited(text),
            "if (a) && kept(1) { if (b) && kept(2) { return; } if kept(3) { x.free(); } return; }"
        );
    }

    #[test]
    fn switch_is_a_program() {
        assert!(syn::parse_file(SWITCH).is_ok());
    }
}
