-- What is kept of an image beside the image itself.

ALTER TABLE image
    ADD COLUMN thumbhash       bytea,
    ADD COLUMN thumbnail_type  text,   -- media type of the thumbnail; NULL: there is none
    ADD COLUMN original_type   text,   -- of what the provider sent; NULL: the image is that
    ADD COLUMN original_bytes  bigint,
    ADD COLUMN original_sha256 bytea,
    ADD COLUMN derive_at       timestamptz, -- when thumbnail and thumbhash are to be made; NULL: never
    ADD COLUMN derive_tries    smallint NOT NULL DEFAULT 0;

UPDATE image SET derive_at = now() WHERE purged_at IS NULL AND deleted_at IS NULL;

CREATE INDEX image_derive ON image (derive_at) WHERE derive_at IS NOT NULL;
