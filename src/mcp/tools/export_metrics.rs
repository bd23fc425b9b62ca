//! `export_metrics`: stored samples as text.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    client::ClientError,
    limits,
    mcp::{
        answer::Answer,
        error::ToolError,
        range::{Range, Time},
        translate,
    },
    wire::{to_wire, v1},
};

use super::{Context, Effect, Tool, names};

/// How far before the end an export begins where nothing is said.
const RANGE_DEFAULT: Duration = Duration::from_hours(1);

pub(super) struct ExportMetrics;

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Csv,
    Prometheus,
    Influx,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Prometheus => "prometheus",
            Self::Influx => "influx",
        }
    }

    fn wire(self) -> v1::ExportFormat {
        match self {
            Self::Json => v1::ExportFormat::Json,
            Self::Csv => v1::ExportFormat::Csv,
            Self::Prometheus => v1::ExportFormat::Prometheus,
            Self::Influx => v1::ExportFormat::Influx,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    /// Form of the text
    format: Format,
    /// Default all
    #[serde(default)]
    metric_names: Vec<String>,
    /// RFC 3339, Unix seconds or "-1h"; default an hour before the end
    start_time: Option<Time>,
    /// Default now
    end_time: Option<Time>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    #[schemars(with = "String")]
    format: Format,
    /// The samples in that format
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<String>,
}

impl Tool for ExportMetrics {
    const NAME: &'static str = "export_metrics";
    const TITLE: &'static str = "Export metrics";
    const DESCRIPTION: &'static str = "Stored samples as text. A large export is cut, and names the command that writes it whole to a file.";
    const EFFECT: Effect = Effect::Reads;
    type Input = Input;
    type Output = Output;

    async fn call(context: &Context, input: Input) -> Result<Answer<Output>, ToolError> {
        let now = context.clock.now();
        let mut range = Range::read(input.start_time.as_ref(), input.end_time.as_ref(), now)?;
        range.start = range.start.or(range.end.map(|end| end.minus(RANGE_DEFAULT)));
        for (i, name) in input.metric_names.iter().enumerate() {
            translate::check_metric_name(&format!("metric_names[{i}]"), name)?;
        }
        let text = export(context, &input, range).await?;
        if !input.metric_names.is_empty() {
            check_known(context, &input.metric_names).await?;
        }
        let advice = format!("to write all of it to a file, run `{}`", command(&input, range));
        let output = Output { format: input.format, text, cut: None };
        Ok(Answer::of(output, &["text"], advice))
    }
}

/// The beginning of the export: as much of it as could be shown, and a line more.
async fn export(context: &Context, input: &Input, range: Range) -> Result<String, ClientError> {
    let request = v1::ExportRequest {
        format: input.format.wire().into(),
        matchers: input.metric_names.clone(),
        start: range.start.map(to_wire::time),
        end: range.end.map(to_wire::time),
    };
    let mut stream = context.connection.metrics().export(request).await?.into_inner();
    let mut text = Vec::new();
    while let Some(piece) = stream.message().await? {
        text.extend(piece.chunk);
        if text.len() > 2 * limits::TOOL_ANSWER_BYTES {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A name that nobody has is a typing error, not an empty export.
async fn check_known(context: &Context, wanted: &[String]) -> Result<(), ToolError> {
    let known = names::of_metrics(&context.connection).await?;
    let is_unknown = |(_, name): &(usize, &String)| !known.contains(name);
    let Some((i, name)) = wanted.iter().enumerate().find(is_unknown) else {
        return Ok(());
    };
    Err(names::unknown(&format!("metric_names[{i}]"), name, &known))
}

/// The command line that exports the same, whole.
fn command(input: &Input, range: Range) -> String {
    let format = input.format.name();
    let mut command = format!("balefire export --format {format}");
    for name in &input.metric_names {
        command.extend([" --match ", &names::shell_quoted(name)]);
    }
    for (option, time) in [("--start", range.start), ("--end", range.end)] {
        if let Some(time) = time {
            command.extend([" ", option, " ", &time.to_string()]);
        }
    }
    command.extend([" --file metrics.", format]);
    command
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn the_command_exports_the_same() {
        let input: Input =
            serde_json::from_value(json!({"format": "csv", "metric_names": ["up", "a:b"]}))
                .unwrap();
        let range = Range { start: Some(Timestamp::from_secs(0)), end: None };
        assert_eq!(
            command(&input, range),
            "balefire export --format csv --match up --match a:b --start 1970-01-01T00:00:00.000Z \
             --file metrics.csv"
        );
    }
}
