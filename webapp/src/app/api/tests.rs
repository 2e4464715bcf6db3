use std::collections::BTreeSet;

use super::*;
use crate::app::routes::{ROUTES, To};

/// The description of the API.
fn description() -> Value {
    serde_json::from_str(DESCRIPTION).unwrap()
}

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

#[test]
fn each_route_is_described_and_nothing_else_is() {
    let routed: BTreeSet<(String, String)> = ROUTES
        .iter()
        .filter(|route| matches!(route.to, To::Api(_)))
        .map(|route| {
            (
                route.path.to_owned(),
                route.method.as_str().to_ascii_lowercase(),
            )
        })
        .collect();
    let description = description();
    let paths = description["paths"].as_object().unwrap();
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            let methods = methods.filter(|method| METHODS.contains(&method.as_str()));
            methods.map(|method| (path.clone(), method.clone()))
        })
        .collect();
    assert_eq!(routed, described);
}

#[test]
fn each_reference_leads_somewhere_and_each_operation_has_its_own_name() {
    fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let description = description();
    let mut found = Vec::new();
    references(&description, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference}");
    }

    let mut names = BTreeSet::new();
    for item in description["paths"].as_object().unwrap().values() {
        for (method, operation) in item.as_object().unwrap() {
            if METHODS.contains(&method.as_str()) {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name.to_owned()), "{name} is there twice");
            }
        }
    }
}

#[test]
fn a_refusal_says_what_is_wrong_with_which_field_and_nothing_of_the_inside() {
    let refused = problem(&Refusal::invalid("text", "Write something first."));
    assert_eq!(refused.status(), 422);
    assert_eq!(refused.headers()[CONTENT_TYPE], "application/problem+json");
    let told: Value = serde_json::from_slice(refused.body()).unwrap();
    assert_eq!(told["errors"][0]["field"], "text");
    assert_eq!(told["errors"][0]["detail"], "Write something first.");

    let inside = Refusal::Internal(anyhow::anyhow!("SELECT password FROM account"));
    let refused = problem(&inside);
    assert_eq!(refused.status(), 500);
    assert!(!String::from_utf8_lossy(refused.body()).contains("password"));
}
