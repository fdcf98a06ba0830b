//! What a request sends: JSON, a form, several parts, plain text.

use super::multipart::MultipartTemplate;
use super::{Unready, one_of};
use crate::evidence::slots::{BodyTemplate, FormTemplate, JsonTemplate};
use crate::model::params::Params;
use crate::model::source::Diagnostic;
use crate::yaml::Spanned;

/// What is sent.
#[derive(Debug)]
pub enum Body {
    None,
    Json(JsonTemplate),
    Form(FormTemplate),
    Multipart(MultipartTemplate),
    Text(BodyTemplate),
}

/// The keys that say what is sent; at most one of them is given.
#[derive(Debug, Default)]
pub struct WrittenBody {
    pub json: Option<Spanned<JsonTemplate>>,
    pub form: Option<Spanned<FormTemplate>>,
    pub multipart: Option<Spanned<MultipartTemplate>>,
    pub body: Option<Spanned<BodyTemplate>>,
}

impl WrittenBody {
    pub fn is_some(&self) -> bool {
        self.json.is_some() || self.form.is_some() || self.multipart.is_some() || self.body.is_some()
    }

    /// The one that is given.
    ///
    /// # Errors
    /// A second one; a file of a part that can't be sent.
    pub(super) fn read(self) -> Result<Body, Diagnostic> {
        one_of(
            "a request has one body",
            [
                ("json", self.json.as_ref().map(|json| &json.at)),
                ("form", self.form.as_ref().map(|form| &form.at)),
                ("multipart", self.multipart.as_ref().map(|parts| &parts.at)),
                ("body", self.body.as_ref().map(|body| &body.at)),
            ],
        )?;
        Ok(match (self.json, self.form, self.multipart, self.body) {
            (Some(json), ..) => Body::Json(json.value),
            (_, Some(form), ..) => Body::Form(form.value),
            (_, _, Some(parts), _) => Body::Multipart(parts.value.placed()?),
            (_, _, _, Some(body)) => Body::Text(body.value),
            _ => Body::None,
        })
    }
}

impl Body {
    pub(super) fn params(&self) -> Vec<String> {
        match self {
            Body::None => Vec::new(),
            Body::Json(json) => json.params(),
            Body::Form(form) => form.params(),
            Body::Multipart(parts) => parts.params(),
            Body::Text(text) => text.params(),
        }
    }

    /// The content type and the bytes.
    ///
    /// # Errors
    /// A value that is missing; a file that can't be read.
    pub(super) fn write(&self, values: &Params) -> Result<(Option<String>, Vec<u8>), Unready> {
        let (content_type, body) = match self {
            Body::None => return Ok((None, Vec::new())),
            Body::Json(json) => ("application/json".to_owned(), json.render(values)?.to_string().into_bytes()),
            Body::Form(form) => ("application/x-www-form-urlencoded".to_owned(), form.render(values)?.into_bytes()),
            Body::Multipart(parts) => parts.write(values)?,
            Body::Text(text) => ("text/plain; charset=utf-8".to_owned(), text.render(values)?.into_bytes()),
        };
        Ok((Some(content_type), body))
    }
}
