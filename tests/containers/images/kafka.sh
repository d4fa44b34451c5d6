#!/bin/bash
# A stand-in for apache/kafka:4.1.0, for machines that reach Maven Central but no image registry: Kafka 4.1.0 itself,
# with the variables, paths, user and CMD of the real image. kafka.sh WORKDIR
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$1/kafka-image
rm -rf "$work"
cp -r "$here/kafka" "$work"
mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$work/libs"
docker build -q -t apache/kafka:4.1.0 "$work"
rm -rf "$work"
