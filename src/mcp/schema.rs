//! JSON Schemas of tool arguments and answers, kept small: every byte of them costs the agent
//! tokens in each conversation.

use std::sync::Arc;

use rmcp::model::JsonObject;
use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::Value;

/// The schema of what a tool takes.
pub(super) fn of_input<T: JsonSchema>() -> Arc<JsonObject> {
    generate::<T>(SchemaSettings::draft2020_12().for_deserialize())
}

/// The schema of what a tool answers.
pub(super) fn of_output<T: JsonSchema>() -> Arc<JsonObject> {
    generate::<T>(SchemaSettings::draft2020_12().for_serialize())
}

fn generate<T: JsonSchema>(settings: SchemaSettings) -> Arc<JsonObject> {
    let settings = settings
        .with(|settings| {
            settings.meta_schema = None;
            settings.inline_subschemas = true;
        })
        .with_transform(RecursiveTransform(strip));
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let Value::Object(mut object) = schema.to_value() else {
        return Arc::default();
    };
    object.remove("description");
    Arc::new(object)
}

/// Takes out what tells a reader nothing.
fn strip(schema: &mut Schema) {
    for keyword in ["title", "format", "default", "minimum", "maximum"] {
        schema.remove(keyword);
    }
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required = |name: &str| {
        required.as_array().is_some_and(|names| names.iter().any(|required| required == name))
    };
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        if !is_required(name) {
            forget_null(property);
        }
    }
}

/// A property that may be absent need not be offered as `null`, too.
fn forget_null(property: &mut Value) {
    for keyword in ["type", "enum"] {
        let Some(choices) = property.get_mut(keyword).and_then(Value::as_array_mut) else {
            continue;
        };
        choices.retain(|choice| !choice.is_null() && choice != "null");
        if keyword == "type" && choices.len() == 1 {
            property[keyword] = choices.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    #[derive(Deserialize, Serialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Example {
        /// How many
        count: u32,
        nullable: Option<f64>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        tags: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        absent: Option<String>,
    }

    #[track_caller]
    fn check(schema: &JsonObject, field: &str, expected: &Value) {
        assert_eq!(schema["properties"][field], *expected, "{field}");
    }

    #[test]
    fn what_is_taken_may_be_left_out_rather_than_null() {
        let schema = of_input::<Example>();
        assert_eq!(schema["required"], json!(["count"]));
        assert_eq!(schema["additionalProperties"], false);
        check(&schema, "count", &json!({"type": "integer", "description": "How many"}));
        check(&schema, "nullable", &json!({"type": "number"}));
        check(
            &schema,
            "tags",
            &json!({"type": "object", "additionalProperties": {"type": "string"}}),
        );
    }

    #[test]
    fn what_is_answered_may_be_null_where_it_is_always_there() {
        let schema = of_output::<Example>();
        check(&schema, "nullable", &json!({"type": ["number", "null"]}));
        check(&schema, "absent", &json!({"type": "string"}));
    }
}
