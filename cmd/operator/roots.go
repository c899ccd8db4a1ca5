package main

// Mozilla's certificate authorities, for machines that have none: the image
// holds this program and no such files. Where there are files, as mounted at
// /etc/ssl/certs or named by SSL_CERT_FILE, those count instead.
import _ "golang.org/x/crypto/x509roots/fallback"
