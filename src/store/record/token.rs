//! Bearer tokens as records.

use prost::Message;

use super::{
    BadRecord,
    convert::{at, place},
    time,
};
use crate::{
    access::{Role, Token},
    time::Timestamp,
};

/// A bearer token, without its secret.
#[derive(Clone, PartialEq, Message)]
pub(in crate::store) struct TokenRecord {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(uint32, repeated, tag = "3")]
    pub roles: Vec<u32>,
    /// SHA-256.
    #[prost(bytes = "vec", tag = "4")]
    pub secret_hash: Vec<u8>,
    #[prost(sint64, tag = "5")]
    pub created_at: i64,
    #[prost(string, tag = "6")]
    pub created_by: String,
    #[prost(sint64, optional, tag = "7")]
    pub expires_at: Option<i64>,
    #[prost(sint64, optional, tag = "8")]
    pub last_used_at: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(in crate::store) struct TokenUseRecord {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(sint64, tag = "2")]
    pub at: i64,
}

impl From<&Token> for TokenRecord {
    fn from(token: &Token) -> Self {
        Self {
            id: token.id.clone(),
            name: token.name.clone(),
            roles: token.roles.iter().map(|role| place(&Role::ALL, &role)).collect(),
            secret_hash: token.secret_hash.to_vec(),
            created_at: token.created_at.as_millis(),
            created_by: token.created_by.clone(),
            expires_at: token.expires_at.map(Timestamp::as_millis),
            last_used_at: token.last_used_at.map(Timestamp::as_millis),
        }
    }
}

impl TryFrom<&TokenRecord> for Token {
    type Error = BadRecord;

    fn try_from(record: &TokenRecord) -> Result<Self, BadRecord> {
        let roles = record.roles.iter().map(|role| at(&Role::ALL, *role, "role"));
        Ok(Self {
            id: record.id.clone(),
            name: record.name.clone(),
            roles: roles.collect::<Result<_, _>>()?,
            secret_hash: record.secret_hash.as_slice().try_into().map_err(|_| BadRecord("hash"))?,
            created_at: time(record.created_at),
            created_by: record.created_by.clone(),
            expires_at: record.expires_at.map(time),
            last_used_at: record.last_used_at.map(time),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        Change,
        record::{ChangeRecord, decode_change, encode_change},
    };

    #[track_caller]
    fn check(change: Change) {
        let bytes = encode_change(&change, 0).encode_to_vec();
        let record = ChangeRecord::decode(&*bytes).unwrap();
        assert_eq!(decode_change(&record).unwrap(), Some(change));
    }

    #[test]
    fn a_token_comes_back_as_it_was() {
        let at = Timestamp::from_secs(5);
        check(Change::PutToken(Token {
            id: "0a1b2c3d".into(),
            name: "grafana".into(),
            roles: [Role::Viewer, Role::Ingest].into_iter().collect(),
            secret_hash: Token::hash("secret"),
            created_at: at,
            created_by: "ada".into(),
            expires_at: Some(at),
            last_used_at: None,
        }));
        check(Change::UseToken { id: "0a1b2c3d".into(), at });
        check(Change::DeleteToken("0a1b2c3d".into()));
    }
}
