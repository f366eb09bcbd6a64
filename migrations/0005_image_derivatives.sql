-- What is kept of an image beside the image itself.

ALTER TABLE image
    ADD COLUMN thumbhash       bytea,
    ADD COLUMN thumbnail_type  text,   -- media type of the thumbnail; NULL: there is none
    ADD COLUMN original_type   text,   -- of what the provider sent; NULL: the image is that
    ADD COLUMN original_bytes  bigint,
    ADD COLUMN original_sha256 bytea,
    -- When thumbnail and thumbhash are to be made; NULL: never. The default is for
    -- what there is, without writing each row, and for programs that do not know it.
    ADD COLUMN derive_at       timestamptz DEFAULT now(),
    ADD COLUMN derive_tries    smallint NOT NULL DEFAULT 0;

CREATE INDEX image_derive ON image (derive_at) WHERE derive_at IS NOT NULL;
