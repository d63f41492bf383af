//! From rustdoc's JSON to lines: every path by which an item can be named, with its signature.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::signature::{bounds, function, generics, kind, last, list as joined, ty};

/// Lines, one an item, sorted by path.
pub(crate) fn list(documentation: &Value) -> Vec<String> {
    let mut walk = Walk { index: &documentation["index"], lines: BTreeSet::new() };
    let root = walk.item(&documentation["root"]);
    walk.module(root, "peerless", &mut Vec::new());
    let mut lines: Vec<String> = walk.lines.into_iter().collect();
    lines.sort_by_cached_key(|line| line.find("peerless").map_or(String::new(), |at| line[at..].to_owned()));
    lines
}

struct Walk<'a> {
    index: &'a Value,
    lines: BTreeSet<String>,
}

impl<'a> Walk<'a> {
    /// Null for an item of another crate.
    fn item(&self, id: &Value) -> &'a Value {
        &self.index[id.to_string()]
    }

    fn say(&mut self, line: String) {
        self.lines.insert(line);
    }

    fn module(&mut self, module: &'a Value, path: &str, above: &mut Vec<String>) {
        let id = module["id"].to_string();
        // A module that exports one above it.
        if above.contains(&id) {
            return;
        }
        above.push(id);
        for id in joined(&module["inner"]["module"]["items"]) {
            self.named(self.item(id), path, None, above);
        }
        above.pop();
    }

    /// An item of a module, under its own name or another.
    fn named(&mut self, item: &'a Value, within: &str, name: Option<&str>, above: &mut Vec<String>) {
        if item.is_null() {
            return;
        }
        let name = name.or(item["name"].as_str()).unwrap_or_default();
        let path = format!("{within}::{name}");
        let (kind, inner) = kind(item);
        match kind {
            "use" => {
                let name = inner["name"].as_str();
                let target = self.item(&inner["id"]);
                match (inner["is_glob"] == true, target.is_null()) {
                    (true, false) => self.module_or_enum(target, within, above),
                    (false, false) => self.named(target, within, name, above),
                    (_, true) => self.say(format!("pub use {within}::{}", name.unwrap_or("*"))),
                }
            }
            "module" => {
                self.say(format!("pub mod {path}"));
                self.module(item, &path, above);
            }
            "function" => self.say(function(&path, inner)),
            "constant" => self.say(format!("pub const {path}: {}{}", ty(&inner["type"]), value(&inner["const"]))),
            "static" => self.say(format!("pub static {path}: {}", ty(&inner["type"]))),
            "type_alias" => self.say(format!("pub type {path}{} = {}", generics(inner), ty(&inner["type"]))),
            "macro" | "proc_macro" => self.say(format!("pub macro {path}!")),
            "struct" | "union" => self.structure(kind, item, inner, &path),
            "enum" => {
                self.say(format!("{}pub enum {path}{}", marks(item), generics(inner)));
                for id in joined(&inner["variants"]) {
                    self.variant(self.item(id), &path);
                }
                self.implementations(inner, &path);
            }
            "trait" => {
                self.say(format!("pub trait {path}{}{}", generics(inner), bounds(": ", &inner["bounds"])));
                self.members(inner, &path);
            }
            other => self.say(format!("pub {other} {path}")),
        }
    }

    fn module_or_enum(&mut self, item: &'a Value, within: &str, above: &mut Vec<String>) {
        match kind(item) {
            ("module", _) => self.module(item, within, above),
            (_, inner) => joined(&inner["variants"]).for_each(|id| self.variant(self.item(id), within)),
        }
    }

    fn structure(&mut self, kind: &str, item: &Value, inner: &'a Value, path: &str) {
        let shape = &inner["kind"];
        let tuple = shape["tuple"].as_array().map_or_else(String::new, |fields| {
            let types = fields.iter().map(|id| self.field(id).map_or("_".to_owned(), |(_, ty)| ty));
            format!("({})", types.collect::<Vec<_>>().join(", "))
        });
        self.say(format!("{}pub {kind} {path}{}{tuple}", marks(item), generics(inner)));
        for id in joined(&shape["plain"]["fields"]).chain(joined(&inner["fields"])) {
            if let Some((name, ty)) = self.field(id) {
                self.say(format!("pub field {path}::{name}: {ty}"));
            }
        }
        self.implementations(inner, path);
    }

    /// A public field's name and type.
    fn field(&self, id: &Value) -> Option<(String, String)> {
        let field = self.item(id);
        let ty = ty(field["inner"].get("struct_field")?);
        Some((field["name"].as_str()?.to_owned(), ty))
    }

    fn variant(&mut self, variant: &Value, path: &str) {
        let shape = &variant["inner"]["variant"]["kind"];
        let fields = |ids: &Value| -> Vec<(String, String)> { joined(ids).filter_map(|id| self.field(id)).collect() };
        let content = if shape["tuple"].is_array() {
            let types: Vec<String> = fields(&shape["tuple"]).into_iter().map(|(_, ty)| ty).collect();
            format!("({})", types.join(", "))
        } else if shape["struct"].is_object() {
            let named: Vec<String> =
                fields(&shape["struct"]["fields"]).into_iter().map(|(name, ty)| format!("{name}: {ty}")).collect();
            format!(" {{ {} }}", named.join(", "))
        } else {
            String::new()
        };
        self.say(format!("{}pub variant {path}::{}{content}", marks(variant), text(&variant["name"])));
    }

    fn implementations(&mut self, inner: &'a Value, path: &str) {
        let mut traits = BTreeSet::new();
        for id in joined(&inner["impls"]) {
            let implementation = &self.item(id)["inner"]["impl"];
            if implementation["is_synthetic"] == true || !implementation["blanket_impl"].is_null() {
                continue;
            }
            if implementation["trait"].is_null() {
                self.members(implementation, path);
                continue;
            }
            let name = last(text(&implementation["trait"]["path"]));
            // Only the compiler implements these.
            if name != "StructuralPartialEq" {
                traits.insert(ty(&serde_json::json!({ "resolved_path": implementation["trait"] })));
            }
        }
        if !traits.is_empty() {
            self.say(format!("impl {path}: {}", traits.into_iter().collect::<Vec<_>>().join(", ")));
        }
    }

    /// Functions, constants and types of a trait or of an implementation.
    fn members(&mut self, of: &'a Value, path: &str) {
        for id in joined(&of["items"]) {
            let item = self.item(id);
            let path = format!("{path}::{}", text(&item["name"]));
            match kind(item) {
                ("function", inner) => self.say(function(&path, inner)),
                ("assoc_const", inner) => self.say(format!("pub const {path}: {}", ty(&inner["type"]))),
                ("assoc_type", inner) => {
                    self.say(format!("pub type {path}{}{}", generics(inner), bounds(": ", &inner["bounds"])));
                }
                (kind, _) => self.say(format!("pub {kind} {path}")),
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The attributes that say what may be added.
fn marks(item: &Value) -> &'static str {
    let attributes = item["attrs"].to_string();
    if attributes.contains("non_exhaustive") { "#[non_exhaustive] " } else { "" }
}

/// A constant's value, where it has one.
fn value(constant: &Value) -> String {
    constant["value"].as_str().map_or_else(String::new, |value| format!(" = {value}"))
}
