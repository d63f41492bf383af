//! Types and signatures of rustdoc's JSON in the short form: every path is its last name.

use serde_json::Value;

/// An item's kind, and what is said of that kind.
pub(crate) fn kind(item: &Value) -> (&str, &Value) {
    const NULL: Value = Value::Null;
    let inner = item["inner"].as_object().and_then(|inner| inner.iter().next());
    inner.map_or(("nothing", &NULL), |(kind, inner)| (kind.as_str(), inner))
}

/// The elements of a list; none of what is no list.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten().filter(|value| !value.is_null())
}

/// The last name of a path.
pub(crate) fn last(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path)
}

/// `pub fn path<T>(name: Type) -> Type where ..`.
pub(crate) fn function(path: &str, inner: &Value) -> String {
    let header = &inner["header"];
    let mut words = String::from("pub ");
    for (field, word) in [("is_const", "const "), ("is_async", "async "), ("is_unsafe", "unsafe ")] {
        if header[field] == true {
            words += word;
        }
    }
    let inputs = list(&inner["sig"]["inputs"]).map(|input| {
        let (name, ty) = (text(&input[0]), ty(&input[1]));
        match (name, ty.as_str()) {
            ("self", "Self") => "self".to_owned(),
            ("self", "&Self") => "&self".to_owned(),
            ("self", "&mut Self") => "&mut self".to_owned(),
            _ => format!("{name}: {ty}"),
        }
    });
    let inputs: Vec<String> = inputs.collect();
    let output = &inner["sig"]["output"];
    let output = if output.is_null() { String::new() } else { format!(" -> {}", ty(output)) };
    format!("{words}fn {path}{}({}){output}{}", generics(inner), inputs.join(", "), predicates(inner))
}

/// `<'a, T: Bound, const N: usize>`.
pub(crate) fn generics(inner: &Value) -> String {
    let params = list(&inner["generics"]["params"]).filter_map(|param| {
        let name = text(&param["name"]);
        let (kind, of) = param["kind"].as_object()?.iter().next()?;
        match kind.as_str() {
            "type" if of["is_synthetic"] == true => None,
            "type" => {
                let default = &of["default"];
                let default = if default.is_null() { String::new() } else { format!(" = {}", ty(default)) };
                Some(format!("{name}{}{default}", bounds(": ", &of["bounds"])))
            }
            "const" => Some(format!("const {name}: {}", ty(&of["type"]))),
            _ => Some(name.to_owned()),
        }
    });
    let params: Vec<String> = params.collect();
    if params.is_empty() { String::new() } else { format!("<{}>", params.join(", ")) }
}

fn predicates(inner: &Value) -> String {
    let predicates = list(&inner["generics"]["where_predicates"]).filter_map(|predicate| {
        let of = predicate.get("bound_predicate")?;
        Some(format!("{}{}", ty(&of["type"]), bounds(": ", &of["bounds"])))
    });
    let predicates: Vec<String> = predicates.collect();
    if predicates.is_empty() { String::new() } else { format!(" where {}", predicates.join(", ")) }
}

/// Bounds after `prefix`, or nothing.
pub(crate) fn bounds(prefix: &str, bounds: &Value) -> String {
    let all = list(bounds).filter_map(|bound| {
        if let Some(lifetime) = bound["outlives"].as_str() {
            return Some(lifetime.to_owned());
        }
        let of = bound.get("trait_bound")?;
        let maybe = if of["modifier"] == "maybe" { "?" } else { "" };
        Some(format!("{maybe}{}", path(&of["trait"])))
    });
    let all: Vec<String> = all.collect();
    if all.is_empty() { String::new() } else { format!("{prefix}{}", all.join(" + ")) }
}

/// A type.
pub(crate) fn ty(value: &Value) -> String {
    let Some((kind, of)) = value.as_object().and_then(|value| value.iter().next()) else {
        return "_".to_owned();
    };
    match kind.as_str() {
        "resolved_path" => path(of),
        "generic" | "primitive" => text(of).to_owned(),
        "tuple" => format!("({})", types(of).join(", ")),
        "slice" => format!("[{}]", ty(of)),
        "array" => format!("[{}; {}]", ty(&of["type"]), text(&of["len"])),
        "impl_trait" => format!("impl {}", bounds("", of)),
        "dyn_trait" => {
            let traits: Vec<String> = list(&of["traits"]).map(|bound| path(&bound["trait"])).collect();
            let lifetime = of["lifetime"].as_str().map_or_else(String::new, |lifetime| format!(" + {lifetime}"));
            format!("dyn {}{lifetime}", traits.join(" + "))
        }
        "borrowed_ref" => {
            let lifetime = of["lifetime"].as_str().map_or_else(String::new, |lifetime| format!("{lifetime} "));
            let mutable = if of["is_mutable"] == true { "mut " } else { "" };
            format!("&{lifetime}{mutable}{}", ty(&of["type"]))
        }
        "raw_pointer" => format!("*{} {}", if of["is_mutable"] == true { "mut" } else { "const" }, ty(&of["type"])),
        "function_pointer" => {
            let inputs: Vec<String> = list(&of["sig"]["inputs"]).map(|input| ty(&input[1])).collect();
            let output = &of["sig"]["output"];
            let output = if output.is_null() { String::new() } else { format!(" -> {}", ty(output)) };
            format!("fn({}){output}", inputs.join(", "))
        }
        "qualified_path" => {
            let name = format!("{}{}", text(&of["name"]), arguments(&of["args"]));
            match &of["trait"] {
                Value::Null => format!("{}::{name}", ty(&of["self_type"])),
                of_trait => format!("<{} as {}>::{name}", ty(&of["self_type"]), path(of_trait)),
            }
        }
        _ => "_".to_owned(),
    }
}

fn types(values: &Value) -> Vec<String> {
    list(values).map(ty).collect()
}

fn path(of: &Value) -> String {
    format!("{}{}", last(text(&of["path"])), arguments(&of["args"]))
}

fn arguments(of: &Value) -> String {
    if let Some(called) = of.get("parenthesized") {
        let output = &called["output"];
        let output = if output.is_null() { String::new() } else { format!(" -> {}", ty(output)) };
        return format!("({}){output}", types(&called["inputs"]).join(", "));
    }
    let Some(angled) = of.get("angle_bracketed") else { return String::new() };
    let plain = list(&angled["args"]).map(|argument| match argument.as_object().and_then(|of| of.iter().next()) {
        Some((kind, of)) if kind == "lifetime" => text(of).to_owned(),
        Some((kind, of)) if kind == "type" => ty(of),
        Some((kind, of)) if kind == "const" => text(&of["expr"]).to_owned(),
        _ => "_".to_owned(),
    });
    let named = list(&angled["constraints"]).map(|constraint| {
        let name = text(&constraint["name"]);
        match constraint["binding"].get("equality") {
            Some(term) => format!("{name} = {}", term.get("type").map_or_else(|| "_".to_owned(), ty)),
            None => format!("{name}{}", bounds(": ", &constraint["binding"]["constraint"])),
        }
    });
    let all: Vec<String> = plain.chain(named).collect();
    if all.is_empty() { String::new() } else { format!("<{}>", all.join(", ")) }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
