"""What an application has, on uvicorn: pages, uploads, a WebSocket, server-sent events."""
import asyncio
import sys

import uvicorn
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get("/")
def page(request: Request):
    return {"url": str(request.url), "client": request.client.host, "server": "uvicorn"}


@app.post("/upload")
async def upload(request: Request):
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return {"size": size}


@app.get("/events")
async def events():
    async def each():
        for number in range(5):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.02)

    return StreamingResponse(each(), media_type="text/event-stream")


@app.websocket("/ws")
async def echo(socket: WebSocket):
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", timeout_keep_alive=1, proxy_headers=True)
