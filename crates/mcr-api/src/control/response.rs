//! Responses of the daemon, around the answer itself.

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ErrorBody;
use crate::line::json_line;

/// One response: `{"id":1,"ok":{...}}` or `{"id":1,"error":{"code":"...","message":"..."}}`.
///
/// The daemon writes `Response<Answer>`. Which answer it is does not stand in it, so a client reads
/// the one that it asked for, such as `Response<Rules>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<B> {
    /// The request's id; `None` where it could not be read.
    pub id: Option<u64>,
    /// The answer or why there is none.
    pub result: Result<B, ErrorBody>,
}

impl<B: Serialize> Response<B> {
    /// The response as one line with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        json_line(self)
    }
}

impl<B: Serialize> Serialize for Response<B> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_struct("Response", 2)?;
        object.serialize_field("id", &self.id)?;
        match &self.result {
            Ok(body) => object.serialize_field("ok", body)?,
            Err(error) => object.serialize_field("error", error)?,
        }
        object.end()
    }
}

impl<'de, B: Deserialize<'de>> Deserialize<'de> for Response<B> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        /// The response with either part, as it is read.
        #[derive(Deserialize)]
        struct Parts<B> {
            id: Option<u64>,
            ok: Option<B>,
            error: Option<ErrorBody>,
        }
        let parts = Parts::deserialize(from)?;
        let result = match (parts.ok, parts.error) {
            (Some(body), None) => Ok(body),
            (None, Some(error)) => Err(error),
            _ => {
                let cause = "a response holds either \"ok\" or \"error\"";
                return Err(serde::de::Error::custom(cause));
            }
        };
        Ok(Self { id: parts.id, result })
    }
}
