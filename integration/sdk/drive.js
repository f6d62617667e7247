'use strict'
// Drives the published SDK, unchanged, as an application would: log in, upload,
// retrieve, detail, purchase, remove the purchase, log out. Prints what the
// prism answered to each as one JSON object.
//
// node drive.js <host> <port> <user> <password> <file> <URL to retrieve>
const sdk = require('oose-sdk')

const [host, port, username, password, file, url] = process.argv.slice(2)
const prism = new sdk.Prism({username, password, domain: host + ':' + port, prism: {host, port: +port}})
const answers = {}
const keep = name => answer => { answers[name] = answer; return answer }
const refused = promise => promise.then(
  () => { throw new Error('was not refused') },
  err => { answers.refused = (answers.refused || []).concat(err.message) })

async function main () {
  await prism.connect()
  await refused(prism.login(username, 'wrong'))
  await prism.login().then(keep('login'))
  const upload = await prism.contentUpload(file).then(keep('upload'))
  const hash = upload.files.file.hash
  await prism.contentRetrieve({url}, 'txt').then(keep('retrieve'))
  await prism.contentDetail(hash).then(keep('detail'))
  await prism.contentDetail([hash, answers.retrieve.hash]).then(keep('details'))
  const purchase = await prism.contentPurchase(hash, 'mp4', [], 60000).then(keep('purchase'))
  answers.url = 'https:' + prism.urlPurchase(purchase, 'movie')
  answers.static = 'https:' + prism.urlStatic(answers.retrieve.hash, 'txt')
  await refused(prism.contentPurchase('not a hash', 'mp4', [], 60000))
  answers.delivered = await size(answers.url)
  answers.deliveredStatic = await size(answers.static)
  await prism.contentPurchaseRemove(purchase.token).then(keep('remove'))
  answers.removed = await size(answers.url)
  await prism.logout().then(keep('logout'))
  prism.setSession(answers.login.token)
  await refused(prism.contentDetail(hash))
  console.log(JSON.stringify(answers))
}

// size fetches a URL and tells its status and how many bytes came. The SDK has
// turned the check of certificates off for the whole process.
async function size (url) {
  const res = await fetch(url)
  return {status: res.status, bytes: (await res.arrayBuffer()).byteLength, type: res.headers.get('content-type')}
}

main().catch(err => { console.error(err); process.exit(1) })
