//! Requests of which a small message could unfold to gigabytes: batches of two-byte items. They decode
//! like what would be generated for them, but keep no more items than any cluster allows and one more:
//! what is behind is stepped over, and the request is refused for having too many.

use bytes::{Buf, BufMut, Bytes};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};

use crate::v1::{PutRequest, RequestContext};

/// Items that are kept: one more than the highest `limits.batch_items_max` that a node accepts.
pub const ITEMS_KEPT_MAX: usize = 100_001;

const CONTEXT: u32 = 1;
const ITEMS: u32 = 2;

/// A batch whose items are in one field, encoded by one of the modules of `prost::encoding`; perhaps with a flag.
macro_rules! bounded_batch {
    ($(#[$doc:meta])* $name:ident, $(#[$items_doc:meta])* $items:ident: $item:ty, $encoding:ident
     $(, $(#[$flag_doc:meta])* $flag:ident = $flag_tag:literal)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            /// Deadline and cluster.
            pub context: Option<RequestContext>,
            $(#[$items_doc])*
            pub $items: Vec<$item>,
            $($(#[$flag_doc])* pub $flag: bool,)?
        }

        impl Message for $name {
            fn encode_raw(&self, buf: &mut impl BufMut) {
                if let Some(context) = &self.context {
                    encoding::message::encode(CONTEXT, context, buf);
                }
                encoding::$encoding::encode_repeated(ITEMS, &self.$items, buf);
                $(if self.$flag {
                    encoding::bool::encode($flag_tag, &self.$flag, buf);
                })?
            }

            fn merge_field(
                &mut self,
                tag: u32,
                wire_type: WireType,
                buf: &mut impl Buf,
                ctx: DecodeContext,
            ) -> Result<(), DecodeError> {
                match tag {
                    CONTEXT => {
                        let context = self.context.get_or_insert_default();
                        encoding::message::merge(wire_type, context, buf, ctx)
                    }
                    ITEMS if self.$items.len() < ITEMS_KEPT_MAX => {
                        encoding::$encoding::merge_repeated(wire_type, &mut self.$items, buf, ctx)
                    }
                    $($flag_tag => encoding::bool::merge(wire_type, &mut self.$flag, buf, ctx),)?
                    _ => encoding::skip_field(wire_type, tag, buf, ctx),
                }
            }

            fn encoded_len(&self) -> usize {
                let context = self.context.as_ref();
                context.map_or(0, |context| encoding::message::encoded_len(CONTEXT, context))
                    + encoding::$encoding::encoded_len_repeated(ITEMS, &self.$items)
                    $(+ if self.$flag {
                        encoding::bool::encoded_len($flag_tag, &self.$flag)
                    } else {
                        0
                    })?
            }

            fn clear(&mut self) {
                *self = $name::default();
            }
        }
    };
}

bounded_batch!(
    /// `quintet.v1.BatchGetRequest`.
    BatchGetRequest,
    /// [`ITEMS_KEPT_MAX`] at most, once decoded.
    keys: Bytes,
    bytes,
    /// The replica of the asked node shows them.
    from_follower = 3
);

bounded_batch!(
    /// `quintet.v1.BatchPutRequest`.
    BatchPutRequest,
    /// Each with a context of its own if it is to be repeatable; [`ITEMS_KEPT_MAX`] at most, once decoded.
    items: PutRequest,
    message
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes() {
        let context = Some(RequestContext { timeout_ms: 5, ..RequestContext::default() });
        let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
        let puts = BatchPutRequest { context: context.clone(), items: vec![put.clone(), put] };
        let bytes = puts.encode_to_vec();
        assert_eq!(bytes.len(), puts.encoded_len());
        assert_eq!(BatchPutRequest::decode(&*bytes), Ok(puts));
        for from_follower in [false, true] {
            let keys = vec!["a".into(), Bytes::new(), "b".into()];
            let gets = BatchGetRequest { context: context.clone(), keys, from_follower };
            let bytes = gets.encode_to_vec();
            assert_eq!(bytes.len(), gets.encoded_len());
            assert_eq!(BatchGetRequest::decode(&*bytes), Ok(gets));
        }
    }

    #[test]
    fn a_field_of_a_later_version_is_stepped_over() {
        let gets = BatchGetRequest { keys: vec!["a".into()], ..BatchGetRequest::default() };
        let mut bytes = gets.encode_to_vec();
        encoding::uint64::encode(77, &5, &mut bytes);
        assert_eq!(BatchGetRequest::decode(&*bytes), Ok(gets));
    }

    #[test]
    fn items_beyond_the_bound_are_not_kept() {
        // Tag and length 0: an empty item, 300,000 times.
        let bytes = [0x12, 0x00].repeat(300_000);
        let puts = BatchPutRequest::decode(&*bytes).expect("decoded");
        assert_eq!(puts.items.len(), ITEMS_KEPT_MAX);
        let gets = BatchGetRequest::decode(&*bytes).expect("decoded");
        assert_eq!(gets.keys.len(), ITEMS_KEPT_MAX);
        // Rubbish behind the bound is rubbish still.
        let cut = [bytes, vec![0x12, 0x05]].concat();
        assert!(BatchPutRequest::decode(&*cut).is_err());
    }
}
