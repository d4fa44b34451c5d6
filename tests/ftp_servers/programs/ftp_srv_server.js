// ftp-srv as a server: PORT ROOT USER PASSWORD [CERTIFICATE [implicit]], with its modules in NODE_PATH.
const fs = require('fs');
const FtpSrv = require('ftp-srv');

const [port, root, user, password, certificate, implicit] = process.argv.slice(2);
const pem = certificate && fs.readFileSync(certificate);
const server = new FtpSrv({
  url: `${implicit ? 'ftps' : 'ftp'}://127.0.0.1:${port}`,
  pasv_url: '127.0.0.1',
  pasv_min: 20000,
  pasv_max: 60000,
  tls: pem ? { key: pem, cert: pem } : false,
});
server.on('login', ({ username, password: given }, resolve, reject) =>
  username === user && given === password ? resolve({ root }) : reject(new Error('Login incorrect')));
server.listen();
