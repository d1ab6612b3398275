//! The ids of callers, which need not be UUIDs.

use uuid::Uuid;

/// Longest id that a caller may give.
pub const ID_MAX_BYTES: usize = 64;

/// The namespace of ids that are not UUIDs. Part of the contract: another one would forget all that was reserved.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f2d_8a3c_51b7_4e0f_9c64_d00b_0057_e4e1);

/// Why a text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has 1 to {ID_MAX_BYTES} bytes, this one has {size_bytes}")]
pub struct IdError {
    /// The size of the text.
    pub size_bytes: usize,
}

/// The id that a text names: a UUID itself, with or without hyphens, and the `UUIDv5` of any other text.
pub fn id_of(text: &[u8]) -> Result<Uuid, IdError> {
    if text.is_empty() || text.len() > ID_MAX_BYTES {
        return Err(IdError {
            size_bytes: text.len(),
        });
    }
    if matches!(text.len(), 32 | 36)
        && let Ok(id) = Uuid::try_parse_ascii(text)
    {
        return Ok(id);
    }
    Ok(Uuid::new_v5(&NAMESPACE, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_itself_in_every_notation_and_any_other_text_has_its_own() {
        let uuid = Uuid::from_u128(0x0190_a000_0000_7000_8000_0000_0000_00ff);
        for text in [
            "0190a000-0000-7000-8000-0000000000ff",
            "0190A000-0000-7000-8000-0000000000FF",
            "0190a0000000700080000000000000ff",
        ] {
            assert_eq!(id_of(text.as_bytes()), Ok(uuid), "{text}");
        }
        // Fixed for ever: a later version must find what an earlier one reserved.
        assert_eq!(
            id_of(b"order-1").unwrap().to_string(),
            "2441e513-9b77-53d6-a73a-f9c8ea6620ec"
        );
        assert_ne!(id_of(b"order-1"), id_of(b"order-2"));
        assert_ne!(id_of(&[b'x'; 36]), id_of(&[b'x'; 32]));
        assert!(id_of(&[0xff; ID_MAX_BYTES]).is_ok());
        for size_bytes in [0, ID_MAX_BYTES + 1] {
            assert_eq!(id_of(&[b'x'; 65][..size_bytes]), Err(IdError { size_bytes }));
        }
    }
}
