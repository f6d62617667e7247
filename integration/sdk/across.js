'use strict'
// Drives the published SDK, unchanged, against two prisms of one cluster: what
// is made at the first is read at the second, with the same session. Prints the
// answers as one JSON object.
//
// node across.js <host> <port of the first> <port of the second> <user> <password> <file>
const sdk = require('oose-sdk')

const [host, first, second, username, password, file] = process.argv.slice(2)
const at = port => new sdk.Prism({username, password, domain: host + ':' + port, prism: {host, port: +port}})

async function main () {
  const [one, two] = [at(first), at(second)]
  await one.connect()
  await two.connect()
  const login = await one.login()
  two.setSession(login.token)
  const hash = (await one.contentUpload(file)).files.file.hash
  const detail = await two.contentDetail(hash)
  const purchase = await one.contentPurchase(hash, 'mp4', [], 60000)
  const delivered = await size('https:' + two.urlPurchase(purchase, 'movie'))
  const remove = await two.contentPurchaseRemove(purchase.token)
  const removed = await until(404, 'https:' + one.urlPurchase(purchase, 'movie'))
  await two.logout()
  console.log(JSON.stringify({hash, detail, delivered, remove, removed}))
}

// size fetches a URL and tells its status and how many bytes came.
async function size (url) {
  const res = await fetch(url)
  return {status: res.status, bytes: (await res.arrayBuffer()).byteLength}
}

// until fetches a URL until it has a status, and tells how often that took.
async function until (status, url) {
  for (let tries = 1; ; tries++) {
    const {status: got} = await size(url)
    if (got === status) return tries
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

main().catch(err => { console.error(err); process.exit(1) })
