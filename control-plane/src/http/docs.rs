//! `/docs`: the OpenAPI document as a page for people. Rendered here, without script, font or
//! any other file, so that it works where there is no network.

use std::fmt::Write as _;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use super::routes;

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];
const STYLE: &str = include_str!("docs.css");

/// The API as a page.
#[utoipa::path(get, path = "/docs", tag = "system",
    responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
pub(super) async fn docs() -> Response {
    let document = serde_json::to_value(routes::document()).unwrap_or_default();
    let mut response = (StatusCode::OK, Body::from(page(&document))).into_response();
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, html);
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn page(document: &Value) -> String {
    let title = escaped(text(&document["info"]["title"]));
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style></head><body><h1>{title}</h1><p>{}</p>\
         <p>For programs: <a href=\"/v1/openapi.json\">/v1/openapi.json</a></p>",
        escaped(text(&document["info"]["description"]))
    );
    for (path, item) in entries(&document["paths"]) {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                write_operation(&mut out, method, path, operation);
            }
        }
    }
    out.push_str("<h2>Schemas</h2>");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        let _ = write!(out, "<h3 id=\"{0}\">{0}</h3>", escaped(name));
        paragraph(&mut out, &schema["description"]);
        write_properties(&mut out, schema);
    }
    out.push_str("</body></html>");
    out
}

fn write_operation(out: &mut String, method: &str, path: &str, operation: &Value) {
    let id = escaped(text(&operation["operationId"]));
    let key = if operation["security"].is_null() { " <small>no key</small>" } else { "" };
    let _ = write!(
        out,
        "<section id=\"{id}\"><h2><b class=\"{method}\">{method}</b> {}{key}</h2>",
        escaped(path)
    );
    paragraph(out, &operation["summary"]);
    paragraph(out, &operation["description"]);
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    if !parameters.is_empty() {
        out.push_str("<table>");
        for parameter in parameters {
            let required = if parameter["required"] == true { "" } else { " (optional)" };
            let _ = write!(
                out,
                "<tr><td><code>{}</code></td><td>{}{required}</td><td>{}</td></tr>",
                escaped(text(&parameter["name"])),
                escaped(text(&parameter["in"])),
                escaped(text(&parameter["description"]))
            );
        }
        out.push_str("</table>");
    }
    if let Some((kind, media)) = entries(&operation["requestBody"]["content"]).next() {
        let _ = write!(out, "<p>Body: {} {}</p>", escaped(kind), shape(&media["schema"]));
    }
    out.push_str("<table>");
    for (status, response) in entries(&operation["responses"]) {
        let body = entries(&response["content"]).next();
        let body = body.map_or_else(String::new, |(_, media)| shape(&media["schema"]));
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{body}</td></tr>",
            escaped(status),
            escaped(text(&response["description"]))
        );
    }
    out.push_str("</table></section>");
}

fn write_properties(out: &mut String, schema: &Value) {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values.iter().map(|value| escaped(text(value))).collect();
        let _ = write!(out, "<p>One of <code>{}</code></p>", values.join("</code>, <code>"));
    }
    out.push_str("<table>");
    for (name, property) in entries(&schema["properties"]) {
        let _ = write!(
            out,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            escaped(name),
            shape(property),
            escaped(text(&property["description"]))
        );
    }
    out.push_str("</table>");
}

/// A schema in a few words; named ones as links.
fn shape(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("<a href=\"#{0}\">{0}</a>", escaped(name));
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        if let Some(choices) = schema[choice].as_array() {
            return choices.iter().map(shape).collect::<Vec<_>>().join(" or ");
        }
    }
    match &schema["type"] {
        Value::String(kind) if kind == "array" => format!("list of {}", shape(&schema["items"])),
        Value::String(kind) => escaped(kind),
        Value::Array(kinds) => {
            kinds.iter().map(|kind| escaped(text(kind))).collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    }
}

fn paragraph(out: &mut String, value: &Value) {
    if let Some(text) = value.as_str() {
        let _ = write!(out, "<p>{}</p>", escaped(text));
    }
}

fn entries(object: &Value) -> impl Iterator<Item = (&str, &Value)> {
    object.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_operation_and_only_links_that_lead_somewhere() {
        let document = serde_json::to_value(routes::document()).unwrap();
        let page = page(&document);
        for (path, _) in entries(&document["paths"]) {
            assert!(page.contains(&format!("</b> {}", escaped(path))), "{path}");
        }
        for link in page.split("href=\"#").skip(1) {
            let id = link.split('"').next().unwrap();
            assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
        }
        for outside in ["http://", "https://", "<script", "src="] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn what_the_document_says_is_shown_as_text() {
        let odd = serde_json::json!({ "info": { "title": "<b>\"&" } });
        assert!(page(&odd).contains("<h1>&lt;b&gt;&quot;&amp;</h1>"));
    }
}
