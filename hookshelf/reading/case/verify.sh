#!/bin/sh
# Checks this case with openssl and sha256sum alone. Exits 0 only if all of it holds.
set -u
cd "$(dirname "$0")" || exit 1

fail() {
    echo "FAILED: $*" >&2
    exit 1
}
has_hash() { # the SHA-256 of a file
    test "$(sha256sum < "$2" | cut -d ' ' -f 1)" = "$1" || fail "$2 is not as it was"
}
is_signed() { # what was signed is the body, and the signature is that of the headers
    cat signed-before.bin "$1" signed-after.bin | cmp -s - signed.bin || fail "signed.bin"
    signature=$(openssl base64 -A -in signature.bin) || fail "openssl base64"
    grep -q -F -e "$signature" headers.txt || fail "signature.bin is not in headers.txt"
}
is_key() { # the fingerprint of the public key: the SHA-256 of its DER
    is=$(openssl pkey -pubin -in public-key.pem -outform DER | sha256sum | cut -d ' ' -f 1)
    test "$is" = "$1" || fail "public-key.pem is another key"
}
is_ecdsa() {
    openssl dgst -sha256 -verify public-key.pem -signature signature.bin signed.bin > /dev/null \
        || fail "the signature is not good"
}
is_ed25519() {
    openssl pkeyutl -verify -pubin -inkey public-key.pem -rawin -in signed.bin \
        -sigfile signature.bin > /dev/null || fail "the signature is not good"
}
is_event() { # the bytes of the event in the body: where they begin, how many
    dd if="$1" bs=1 skip="$2" count="$3" 2> /dev/null | cmp -s - event.json || fail "event.json"
}
is_logged() { # an entry names the delivery and its size; each holds the hash of the one before
    grep -q -F -e "$1" "$2" || fail "$2 does not name the delivery"
    shift
    before=
    for entry; do
        if test -n "$before"; then
            grep -q -F -e "\"previous\":\"$before\"" "$entry" || fail "$entry does not follow"
        fi
        before=$(sha256sum < "$entry" | cut -d ' ' -f 1)
    done
}

# CHECKS
sha256sum -c SHA256SUMS > /dev/null || fail "SHA256SUMS"
echo "All of it holds. README.txt says what that proves, and what not."
