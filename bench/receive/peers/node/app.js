// routeToS3, the original that hookshelf's contract comes from, on today's Node and the AWS SDK v3:
// it compares the token, parses the body, writes it again and puts it under <app>_<time>.
const { S3Client, PutObjectCommand } = require("@aws-sdk/client-s3");

const s3 = new S3Client({ forcePathStyle: true });

function response(statusCode, body) {
  const headers = { "Content-Type": "application/json" };
  return { statusCode, headers, body: JSON.stringify(body) };
}

exports.app = async (event) => {
  const query = event.queryStringParameters || {};
  if (query.token !== (event.stageVariables || {}).validToken) {
    return response(403, { result: "fail", reason: "Invalid token provided" });
  }
  const text = event.isBase64Encoded
    ? Buffer.from(event.body, "base64").toString("utf8")
    : event.body;
  const body = JSON.stringify(JSON.parse(text));
  const key = `${query.app}_${Date.now()}_${Math.random().toString(36).slice(2, 8)}`;
  await s3.send(
    new PutObjectCommand({
      Bucket: query.bucket || "bench",
      Key: key,
      Body: body,
      ContentType: "application/json",
    }),
  );
  console.log("stored " + key);
  return response(200, { result: "success", key });
};
