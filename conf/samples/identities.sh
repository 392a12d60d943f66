#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Makes a throw-away mesh CA and identities signed by it, to try cairn without
# a cluster.  In a mesh they come from istiod's CA.
#
#   sh identities.sh FOLDER NAMESPACE/SERVICE-ACCOUNT...
#
# writes FOLDER/roots.pem and, for each identity, FOLDER/NS-SA.pem and .key.
# A CA that is already there is used again.

set -eu

if [ $# -lt 2 ]; then
    echo "usage: sh identities.sh FOLDER NAMESPACE/SERVICE-ACCOUNT..." >&2
    exit 2
fi
trust_domain=${TRUST_DOMAIN:-cluster.local}
mkdir -p "$1"
cd "$1"
shift
umask 077

if [ ! -f ca.key ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
        -keyout ca.key -out roots.pem -subj "/O=$trust_domain" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
fi
for identity; do
    name=${identity%/*}-${identity#*/}
    {
        echo "subjectAltName=critical,URI:spiffe://$trust_domain/ns/${identity%/*}/sa/${identity#*/}"
        echo "extendedKeyUsage=serverAuth,clientAuth"
        echo "keyUsage=critical,digitalSignature"
        echo "basicConstraints=critical,CA:FALSE"
    } >"$name.ext"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$name.key" \
        -out "$name.csr" -subj / 2>/dev/null
    openssl x509 -req -in "$name.csr" -CA roots.pem -CAkey ca.key -CAcreateserial -days 30 \
        -extfile "$name.ext" -out "$name.pem" 2>/dev/null
    rm "$name.ext" "$name.csr"
    echo "$PWD/$name.pem"
done
