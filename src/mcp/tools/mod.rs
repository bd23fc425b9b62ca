//! The tools: one file each, and the table of them.
//!
//! To add one, write its file and its row in [`TOOLS`]; name, schemas and annotations follow from
//! its [`Tool`].

mod collect_metrics;
mod create_alert;
mod evaluation;
mod export_metrics;
mod get_server_status;
mod health_check;
mod manage_alerts;
mod names;
mod query_metrics;
mod system_overview;
mod views;

use std::{future::Future, pin::Pin};

use rmcp::model::{JsonObject, Tool as Definition, ToolAnnotations};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{client::Connection, time::Clock};

use super::{answer::Answer, error::ToolError, schema};

/// What a tool works with.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// The way to the daemon.
    pub(super) connection: Connection,
    /// For times that are relative to now.
    pub(super) clock: Clock,
}

/// What calling a tool does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Nothing.
    Reads,
    /// It adds something.
    Adds,
    /// It may take something away; doing it twice is doing it once.
    Changes,
}

/// One tool.
trait Tool {
    /// Unique, and never changed: prompts of users name it.
    const NAME: &'static str;
    /// For people.
    const TITLE: &'static str;
    /// For agents: what it is for, what is not obvious.
    const DESCRIPTION: &'static str;
    /// What a call does to the world.
    const EFFECT: Effect;
    /// Whether a call reaches beyond this host's Balefire.
    const OPEN_WORLD: bool = false;
    /// Its arguments; their comments are what the agent reads.
    type Input: DeserializeOwned + JsonSchema + Send;
    /// Its answer.
    type Output: Serialize + JsonSchema;

    /// Asks the daemon.
    fn call(
        context: &Context,
        input: Self::Input,
    ) -> impl Future<Output = Result<Answer<Self::Output>, ToolError>> + Send;
}

type Called<'a> = Pin<Box<dyn Future<Output = Result<Value, ToolError>> + Send + 'a>>;

/// A row of the table.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) is_read_only: bool,
    /// What `tools/list` says of it.
    pub(super) define: fn() -> Definition,
    /// Calls it with the arguments as they came.
    pub(super) call: for<'a> fn(&'a Context, JsonObject) -> Called<'a>,
}

/// Every tool, in the order in which clients list them.
pub(super) const TOOLS: [Row; 8] = [
    row::<collect_metrics::CollectMetrics>(),
    row::<query_metrics::QueryMetrics>(),
    row::<health_check::HealthCheck>(),
    row::<create_alert::CreateAlert>(),
    row::<manage_alerts::ManageAlerts>(),
    row::<system_overview::SystemOverview>(),
    row::<export_metrics::ExportMetrics>(),
    row::<get_server_status::GetServerStatus>(),
];

const fn row<T: Tool + 'static>() -> Row {
    Row {
        name: T::NAME,
        is_read_only: matches!(T::EFFECT, Effect::Reads),
        define: define::<T>,
        call: |context, arguments| Box::pin(call::<T>(context, arguments)),
    }
}

fn define<T: Tool>() -> Definition {
    let annotations = ToolAnnotations::with_title(T::TITLE)
        .read_only(T::EFFECT == Effect::Reads)
        .destructive(T::EFFECT == Effect::Changes)
        .idempotent(T::EFFECT != Effect::Adds)
        .open_world(T::OPEN_WORLD);
    Definition::new(T::NAME, T::DESCRIPTION, schema::of_input::<T::Input>())
        .with_title(T::TITLE)
        .with_raw_output_schema(schema::of_output::<T::Output>())
        .with_annotations(annotations)
}

async fn call<T: Tool>(context: &Context, arguments: JsonObject) -> Result<Value, ToolError> {
    let input = read(arguments)?;
    let answer = T::call(context, input).await?;
    answer.into_json().map_err(|_| ToolError::Incomplete("text that fits into JSON"))
}

/// Reads arguments strictly; an error names the field that is wrong.
fn read<T: DeserializeOwned>(arguments: JsonObject) -> Result<T, ToolError> {
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "arguments".to_owned() } else { path };
        ToolError::argument(field, plain(&error.into_inner().to_string()))
    })
}

/// What is wrong with an argument, in JSON's words instead of Rust's.
fn plain(problem: &str) -> String {
    let Some((found, expected)) = problem.rsplit_once("expected ") else {
        return problem.to_owned();
    };
    let found = found.replace("type: sequence", "type: list").replace("type: map", "type: object");
    let expected = match expected {
        "f64" => "a number",
        "usize" => "a whole number that is not negative",
        "a sequence" => "a list",
        "a map" => "an object",
        "a string" if found.starts_with("invalid type") => "a string: put it in quotes",
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    };
    format!("{found}expected {expected}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    fn definitions() -> Vec<Value> {
        TOOLS.iter().map(|row| serde_json::to_value((row.define)()).unwrap()).collect()
    }

    #[test]
    fn the_tools_have_the_names_that_agents_know() {
        let names: Vec<&str> = TOOLS.iter().map(|row| row.name).collect();
        let known = [
            "collect_metrics",
            "query_metrics",
            "health_check",
            "create_alert",
            "manage_alerts",
            "system_overview",
            "export_metrics",
            "get_server_status",
        ];
        assert_eq!(names, known);
    }

    #[test]
    fn all_definitions_together_are_small() {
        let bytes = serde_json::to_string(&json!({"tools": definitions()})).unwrap().len();
        // 4,000 tokens of about four bytes.
        assert!(bytes <= 16_000, "{bytes} bytes");
    }

    #[test]
    fn schemas_are_strict_and_complete() {
        for tool in definitions() {
            let name = &tool["name"];
            for schema in ["inputSchema", "outputSchema"] {
                assert_eq!(tool[schema]["type"], "object", "{name} {schema}");
            }
            assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{name}");
            for hint in ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"] {
                assert!(tool["annotations"][hint].is_boolean(), "{name} {hint}");
            }
            assert!(
                tool["annotations"]["title"].is_string() && tool["title"].is_string(),
                "{name}"
            );
            let properties = tool["inputSchema"]["properties"].as_object();
            for (field, schema) in properties.into_iter().flatten() {
                assert!(schema["description"].is_string(), "{name}: {field} has no description");
            }
        }
    }

    #[test]
    fn no_argument_is_required_that_agents_may_leave_out() {
        let required = |tool: &Value| -> BTreeSet<String> {
            let names = tool["inputSchema"]["required"].as_array().into_iter().flatten();
            names.map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        let expected: [&[&str]; 8] = [
            &["source", "metrics"],
            &[],
            &["target"],
            &["name", "condition", "severity"],
            &["action"],
            &[],
            &["format"],
            &[],
        ];
        for (tool, expected) in definitions().iter().zip(expected) {
            let expected = expected.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(required(tool), expected, "{}", tool["name"]);
        }
    }

    fn refusal<T: Tool>(arguments: Value) -> String {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        match read::<T::Input>(arguments) {
            Ok(_) => panic!("these arguments should be refused"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_wrong_argument_is_named() {
        let text = refusal::<health_check::HealthCheck>(json!({"target": "all", "urls": []}));
        assert!(text.contains("`urls`") && text.contains("`endpoints`"), "{text}");
        let text =
            refusal::<collect_metrics::CollectMetrics>(json!({"source": "custom", "metrics": [
                {"name": "a", "value": 1, "metric_type": "gauge", "tags": {"host": 5}},
            ]}));
        assert_eq!(
            text,
            "metrics[0].tags.host: invalid type: integer `5`, expected a string: put it in quotes"
        );
        let text =
            refusal::<collect_metrics::CollectMetrics>(json!({"source": "custom", "metrics": [7]}));
        assert_eq!(text, "metrics[0]: invalid type: integer `7`, expected an object");
        let text = refusal::<query_metrics::QueryMetrics>(json!({"limit": -1}));
        assert!(text.ends_with("expected a whole number that is not negative"), "{text}");
        let text = refusal::<query_metrics::QueryMetrics>(json!({"tags": []}));
        assert_eq!(text, "tags: invalid type: list, expected an object");
        let text = refusal::<manage_alerts::ManageAlerts>(json!({"action": "mute"}));
        assert!(text.starts_with("action: unknown variant `mute`, expected one of"), "{text}");
        let text = refusal::<create_alert::CreateAlert>(json!({"name": "x"}));
        assert!(text.contains("missing field `condition`"), "{text}");
    }
}
